"""What only OpenShift AI does: certificates for Ray, its own head's wait, panics, runtimes of the cluster."""

from typing import Any

import pytest

from kserve_inputs import gpus, runtime, service
from vllm_multinode.authoring.rules import validate
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.platforms.kserve.simulate import simulate
from vllm_multinode.platforms.releases import RELEASES, find

TLS = {"env": [{"name": "RAY_USE_TLS", "value": "1"}, {"name": "A", "value": "b"}]}
WAITING = [
    "bash",
    "-c",
    'until [[ $(ray status | grep -c node_) -eq "${PIPELINE_PARALLEL_SIZE}" ]]; do sleep 1; done',
]


def blocked(release: str, *bodies: dict[str, Any]) -> dict[str, str]:
    """Rule and message of each finding on the InferenceService, which comes last."""
    found = simulate(bodies, find(release)).findings.get(len(bodies) - 1, ())
    return {one.rule: one.message for one in found}


def fitting(release: str, **changes: Any) -> dict[str, Any]:
    annotations = {"serving.kserve.io/autoscalerClass": find(release).autoscaler_class}
    return service(annotations=annotations | changes.pop("annotations", {}), **changes)


def named(name: str, **changes: Any) -> dict[str, Any]:
    body = runtime(**changes)
    return {**body, "metadata": {"name": name}}


@pytest.mark.parametrize(
    ("release", "name", "is_found"),
    [
        pytest.param("rhoai-2.18", "mine", False, id="not-issued-yet"),
        pytest.param("rhoai-2.19", "mine", True, id="2.19"),
        pytest.param("rhoai-2.22", "mine", True, id="2.22"),
        pytest.param("rhoai-2.22", "vllm-multinode-runtime", False, id="own-name"),
        pytest.param("rhoai-2.23", "mine", False, id="any-with-a-worker-spec"),
        pytest.param("kserve-0.19.0", "mine", False, id="kserve"),
    ],
)
def test_certificates_of_one_name(release: str, name: str, is_found: bool) -> None:
    given = fitting(release, model={"runtime": name})
    found = blocked(release, named(name, head=TLS, worker=TLS), given)
    assert ("ray-certificate-name" in found) is is_found


@pytest.mark.parametrize("number", ["2.19", "2.22", "2.24", "2.25", "3.0", "3.2", "3.3"])
@pytest.mark.parametrize(
    ("own", "is_first"),
    [
        pytest.param({}, True, id="nothing-of-its-own"),
        pytest.param({"env": [{"name": "B", "value": "c"}]}, False, id="a-variable-before-it"),
        pytest.param(
            {"env": [{"name": "RAY_USE_TLS", "value": "1"}, {"name": "B", "value": "c"}]}, True, id="named"
        ),
    ],
)
def test_certificates_by_the_first_variable(number: str, own: dict[str, Any], is_first: bool) -> None:
    release = f"rhoai-{number}"
    given = fitting(release, model={"runtime": "vllm-multinode-runtime", **own})
    found = blocked(release, named("vllm-multinode-runtime", head=TLS, worker=TLS), given)
    has_bug = find(release).reads_first_variable_only
    assert has_bug is (number in ("2.19", "2.22", "2.24", "3.0"))
    assert ("ray-certificate-variable" in found) is (has_bug and not is_first)


@pytest.mark.parametrize(
    ("release", "head", "asked", "is_found"),
    [
        pytest.param("rhoai-2.25", {"command": WAITING}, {}, True, id="eight-nodes-for-two"),
        pytest.param("rhoai-2.25", {"command": WAITING}, gpus(4), False, id="two-nodes"),
        pytest.param("rhoai-2.25", {}, {}, False, id="another-head"),
        pytest.param("rhoai-2.22", {"command": WAITING}, {}, False, id="nodes-are-stages"),
    ],
)
def test_a_head_that_counts_stages(
    release: str, head: dict[str, Any], asked: dict[str, Any], is_found: bool
) -> None:
    model = {"resources": asked} if asked else {}
    worker: dict[str, Any] = {"tensorParallelSize": 4, "pipelineParallelSize": 2}
    if asked:
        worker |= {"containers": [{"name": "worker-container", "resources": asked}]}
    found = blocked(release, runtime(head=head), fitting(release, model=model, worker=worker))
    assert ("head-counts-stages" in found) is is_found


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        pytest.param(
            {"model": None, "containers": [{"name": "kserve-container", "image": "x"}]},
            "custom-predictor",
            id="custom-predictor",
        ),
        pytest.param(
            {"annotations": {"serving.kserve.io/gpu-resource-types": '["a/b"]'}},
            "gpu-types-panic",
            id="gpu-types",
        ),
    ],
)
def test_a_panic_that_ends_the_controller_is_said_so(given: dict[str, Any], rule: str) -> None:
    def body(release: str) -> dict[str, Any]:
        made = fitting(release, **{key: value for key, value in given.items() if key != "model"})
        if "model" in given:
            del made["spec"]["predictor"]["model"]
        return made

    ended = blocked("rhoai-2.16", runtime(), body("rhoai-2.16"))[rule]
    assert "panics and ends, for every service of the cluster" in ended
    assert "panics on every reconcile" in blocked("rhoai-2.19", runtime(), body("rhoai-2.19"))[rule]


def test_an_annotation_of_the_workers_keeps_the_controller_from_a_panic() -> None:
    annotated = runtime()
    annotated["spec"]["workerSpec"]["annotations"] = {"a": "b"}
    given = fitting("rhoai-2.16", annotations={"serving.kserve.io/gpu-resource-types": '["a/b"]'})
    assert "gpu-types-panic" not in blocked("rhoai-2.16", annotated, given)


@pytest.mark.parametrize("number", [one.number for one in RELEASES["openshift-ai"] if one.knows_worker_spec])
def test_runtimes_of_the_cluster(number: str) -> None:
    release = f"rhoai-{number}"
    wide = {**runtime(), "kind": "ClusterServingRuntime"}
    found = blocked(release, wide, fitting(release))
    assert ("runtime-not-fitting" in found) is not find(release).knows_cluster_runtimes
    if "runtime-not-fitting" in found:
        assert "reads no ClusterServingRuntime, and rt is one" in found["runtime-not-fitting"]


def test_workers_that_come_and_go_have_another_way_out_on_each_product() -> None:
    hints = {
        release: next(
            one.hint
            for one in simulate([runtime(), fitting(release)], find(release)).findings[1]
            if one.rule == "workers-recreated"
        )
        for release in ("kserve-0.20.0", "openshift-ai-3.5")
    }
    assert "0.19.0" in hints["kserve-0.20.0"]
    assert hints["openshift-ai-3.5"] == "Use a LeaderWorkerSet: multinode render --target lws."


@pytest.mark.parametrize(
    ("release", "is_dropped"),
    [
        pytest.param("openshift-ai-3.5", False, id="carried-by-3.5"),
        pytest.param("openshift-ai-3.4", True, id="dropped-by-3.4"),
        pytest.param("kserve-0.20.0", True, id="dropped-by-kserve"),
    ],
)
def test_resource_claims_of_a_runtime(release: str, is_dropped: bool) -> None:
    claims = [{"name": "gpu", "resourceClaimTemplateName": "one"}]
    documents = from_text(to_yaml([runtime(resourceClaims=claims), fitting(release)]), "-")
    found = {one.rule for one in validate(documents, [find(release)])}
    assert ("runtime-drops-field" in found) is is_dropped
    (group,) = simulate([one.body for one in documents], find(release)).groups
    assert ("resourceClaims" in group.roles[0].pod) is not is_dropped

"""What deploy writes, in which order, and what it leaves alone."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from unit.cluster.objects import Object, claim, leader_worker_set, runtime, service
from unit.cluster.stub_api import StubApi, status
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.deploy import Deployed, Deployment, deploy
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

ALL = (service(), runtime(), claim())


def run(cluster: Cluster, bodies: Sequence[Object] = ALL, name: str = "llm", **options: Any) -> Deployed:
    return deploy(cluster, Deployment(name=name, bodies=copy.deepcopy(bodies), **options))


def results(deployed: Deployed) -> list[tuple[str, str]]:
    return [(one.shown, one.result) for one in deployed.outcomes]


def test_in_order_and_marked(api: StubApi, cluster: Cluster) -> None:
    assert results(run(cluster)) == [
        ("PersistentVolumeClaim demo/models", "created"),
        ("ServingRuntime demo/vllm-multinode-ray", "created"),
        ("InferenceService demo/llm", "created"),
    ]
    made = api.get("inferenceservices", "llm")
    assert made is not None
    assert made["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "vllm-multinode"}
    assert made["metadata"]["annotations"] == {"vllm-multinode/deployments": "demo/llm"}


def test_a_second_time_changes_nothing(api: StubApi, cluster: Cluster) -> None:
    run(cluster)
    before = copy.deepcopy(api.objects)
    assert {result for _, result in results(run(cluster))} == {"unchanged"}
    assert api.objects == before


def test_an_update_changes_what_differs(api: StubApi, cluster: Cluster) -> None:
    run(cluster)
    changed = run(cluster, [claim(), runtime(), service(args=["--max-model-len=4096"])])
    assert [result for _, result in results(changed)] == ["unchanged", "unchanged", "changed"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        pytest.param(service(), service(args=["-q"]), "its pods end first", id="recreate"),
        pytest.param(
            service(strategy="RollingUpdate"), service(strategy="RollingUpdate", args=["-q"]),
            "needs a second set of GPUs", id="rolling",
        ),
        pytest.param(leader_worker_set(), leader_worker_set(replicas=2), "each group ends before", id="set"),
        pytest.param(
            leader_worker_set(),
            leader_worker_set(rolloutStrategy={"rollingUpdateConfiguration": {"maxSurge": 1}}),
            "maxSurge 1", id="set-with-surge",
        ),
    ],
)  # fmt: skip
def test_an_update_is_announced_before_it_is_written(
    api: StubApi, cluster: Cluster, before: Object, after: Object, words: str
) -> None:
    run(cluster, [before])
    said: list[str] = []
    wrote: list[int] = []

    def announce(text: str) -> None:
        said.append(text)
        wrote.append(len(api.written()))

    deploy(cluster, Deployment(name="llm", bodies=[copy.deepcopy(after)]), announce=announce)
    assert len(said) == 1
    assert words in said[0]
    assert wrote == [1]


def test_a_dry_run_writes_nothing(api: StubApi, cluster: Cluster) -> None:
    run(cluster, [runtime()])
    written = len(api.written())
    found = results(run(cluster, [runtime(), service()], dry_run=True))
    assert [result for _, result in found] == ["unchanged", "created"]
    assert len(api.written()) == written


def test_a_refusal_leaves_nothing_half_applied(api: StubApi, cluster: Cluster) -> None:
    api.refuse(
        "PATCH",
        "inferenceservices/llm",
        403,
        status(403, 'admission webhook "v.kserve" denied the request: no'),
    )
    with pytest.raises(MultinodeError) as raised:
        run(cluster)
    assert raised.value.code == ExitCode.WILL_NOT_SERVE
    assert api.written() == []


def test_missing_namespace_is_not_made_unless_asked_for(api: StubApi, cluster: Cluster) -> None:
    cluster.namespace = "other"
    with pytest.raises(MultinodeError) as raised:
        run(cluster)
    assert raised.value.code == ExitCode.NAMESPACE_MISSING
    assert api.written() == []
    run(cluster, create_namespace=True)
    assert api.get("namespaces", "other", "") is not None
    assert api.get("inferenceservices", "llm", "other") is not None


def test_a_namespace_among_the_objects_is_made(api: StubApi, cluster: Cluster) -> None:
    cluster.namespace = "other"
    made = run(cluster, [service(), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}])
    assert results(made)[0] == ("Namespace other", "created")


def test_what_others_made_is_refused_or_left(api: StubApi, cluster: Cluster) -> None:
    api.put({**claim(), "metadata": {"name": "models", "managedFields": [{"manager": "kubectl"}]}})
    assert results(run(cluster))[0] == ("PersistentVolumeClaim demo/models", "unchanged")
    found = api.get("persistentvolumeclaims", "models")
    assert found is not None
    assert "labels" not in found["metadata"]
    larger = claim()
    larger["spec"]["resources"]["requests"]["storage"] = "400Gi"
    with pytest.raises(MultinodeError, match="created by kubectl") as raised:
        run(cluster, [larger])
    assert raised.value.code == ExitCode.CONFLICT
    assert results(run(cluster, [larger], force_conflicts=True)) == [
        ("PersistentVolumeClaim demo/models", "changed")
    ]


def test_two_deployments_share_a_runtime(api: StubApi, cluster: Cluster) -> None:
    run(cluster, [runtime(), service()])
    said: list[str] = []
    other = Deployment(name="other", bodies=[runtime(image="example.com/vllm-multinode:2"), service("other")])
    deploy(cluster, other, announce=said.append)
    shared = api.get("servingruntimes", "vllm-multinode-ray")
    assert shared is not None
    assert shared["metadata"]["annotations"] == {"vllm-multinode/deployments": "demo/llm,demo/other"}
    assert said == ["ServingRuntime vllm-multinode-ray will be changed; demo/llm use it too."]


def test_what_is_left_from_before_is_told(api: StubApi, cluster: Cluster) -> None:
    run(cluster, [service("llm-0"), service("llm-1")])
    left = run(cluster, [service("llm-0")]).leftovers
    assert [item.shown for item in left] == ["InferenceService demo/llm-1"]


def test_our_own_update_is_no_conflict(api: StubApi, cluster: Cluster) -> None:
    """KServe's webhook writes in our name; what it wrote must not stand in our way."""
    cause = {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "vllm-multinode" using serving.kserve.io/v1beta1',
        "field": ".metadata.annotations.serving.kserve.io/deploymentMode",
    }
    api.refuse("PATCH", "force=false", 409, status(409, "1 conflict", "Conflict", causes=[cause]))
    assert results(run(cluster, [service()])) == [("InferenceService demo/llm", "created")]


def test_what_the_server_wrote_is_not_sent_back(api: StubApi, cluster: Cluster) -> None:
    exported = service()
    exported["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 3, "managedFields": []}
    run(cluster, [{**exported, "status": {"url": "http://x"}}])
    made = api.get("inferenceservices", "llm")
    assert made is not None
    assert "status" not in made
    assert made["metadata"]["uid"] != "u"


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        pytest.param([{**service(), "metadata": {}}], "has no name", id="nameless"),
        pytest.param([service(), service()], "appears twice", id="twice"),
    ],
)
def test_bad_objects_are_refused(api: StubApi, cluster: Cluster, bodies: list[Object], words: str) -> None:
    with pytest.raises(MultinodeError, match=words) as raised:
        run(cluster, bodies)
    assert raised.value.code == ExitCode.MANIFEST
    assert api.written() == []


def test_a_status_written_meanwhile_is_no_change(
    api: StubApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Controllers write the status, and with it the resourceVersion, at any time."""
    run(cluster, [service()])
    apply = Cluster.apply

    def after_the_controller(self: Cluster, body: Object, **options: Any) -> Object:
        known = api.objects["inferenceservices", "demo", "llm"]
        api.put({**known, "status": {"observedGeneration": api.version}})
        return apply(self, body, **options)

    monkeypatch.setattr(Cluster, "apply", after_the_controller)
    assert results(run(cluster, [service()])) == [("InferenceService demo/llm", "unchanged")]

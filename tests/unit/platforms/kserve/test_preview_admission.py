"""What KServe's webhooks refuse, per version, in their own words."""

from typing import Any

import pytest

from kserve_inputs import VERSIONS, gpus, runtime, service
from vllm_multinode.authoring.preview import preview
from vllm_multinode.platforms.kserve.admission import refusals_of_runtime, refusals_of_service
from vllm_multinode.platforms.releases import find

MULTI_NODE = [*VERSIONS]
SINCE_18 = [one for one in VERSIONS if find(one).refuses_python_path]
INVALID = 'the InferenceService "llm" is invalid: '


def objections(version: str, **changes: Any) -> list[str]:
    return [one.message for one in refusals_of_service(service(version=version, **changes), find(version))]


@pytest.mark.parametrize("version", ["0.14.1", *VERSIONS])
def test_what_is_right_is_accepted(version: str) -> None:
    found = preview([runtime(), service(version=version)], version)
    # KServe before v0.15 does not know a workerSpec, which kubectl says.
    assert {one.rule for one in found.of("refused")} <= {"unknown-field"}
    assert len(found.groups) == 1


@pytest.mark.parametrize("version", MULTI_NODE)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"model": {"storageUri": None}}, "StorageURI must be set for multinode enabled", id="no-uri"
        ),
        pytest.param(
            {"model": {"env": [{"name": "TENSOR_PARALLEL_SIZE", "value": "2"}]}},
            "setting TENSOR_PARALLEL_SIZE in environment variables is not allowed",
            id="tp-as-env",
        ),
        pytest.param(
            {"worker": {"containers": [{"name": "worker-container"}, {"name": "second"}]}},
            "setting multiple containers in workerSpec is not allowed",
            id="two-worker-containers",
        ),
        pytest.param(
            {"worker": {"tensorParallelSize": 0}},
            "WorkerSpec.TensorParallelSize cannot be less than 1(0)",
            id="tp-0",
        ),
    ],
)
def test_every_multi_node_version_refuses(version: str, changes: dict[str, Any], message: str) -> None:
    assert objections(version, **changes) == [INVALID + message]


@pytest.mark.parametrize(
    ("version", "changes", "messages"),
    [
        pytest.param(
            "0.15.0",
            {"worker": {"pipelineParallelSize": 1}},
            ["WorkerSpec.PipelineParallelSize cannot be less than 2(1)"],
            id="pp-1-in-0.15.0",
        ),
        pytest.param("0.15.2", {"worker": {"pipelineParallelSize": 1}}, [], id="pp-1-in-0.15.2"),
        pytest.param(
            "0.15.2",
            {"model": {"storageUri": "oci://a/b"}},
            ["Multinode only supports 'pvc' Storage Protocol(oci)"],
            id="oci-in-0.15.2",
        ),
        pytest.param("0.16.0", {"model": {"storageUri": "oci://a/b"}}, [], id="oci-in-0.16.0"),
        pytest.param(
            "0.20.0",
            {"model": {"storageUri": "oci+native://a/b"}},
            ["Multinode only supports 'pvc' and 'oci' Storage Protocol(oci+native)"],
            id="oci-native",
        ),
        pytest.param(
            "0.15.0",
            {"annotations": {"serving.kserve.io/autoscalerClass": "hpa"}},
            ["Multinode only supports 'external' autoscaler(hpa)"],
            id="hpa-in-0.15.0",
        ),
        pytest.param(
            "0.15.1",
            {"annotations": {"serving.kserve.io/autoscalerClass": "external"}},
            ["Multinode only supports 'none' autoscaler(external)"],
            id="external-in-0.15.1",
        ),
    ],
)
def test_versions_differ(version: str, changes: dict[str, Any], messages: list[str]) -> None:
    assert objections(version, **changes) == [INVALID + message for message in messages]


def test_an_autoscaler_class_that_a_version_does_not_know_is_refused_first() -> None:
    none = {"serving.kserve.io/autoscalerClass": "none"}
    assert objections("0.15.0", annotations=none)[0] == "[none] is not a supported autoscaler class type"


@pytest.mark.parametrize("version", MULTI_NODE)
def test_pythonpath_is_refused_from_v0_18(version: str) -> None:
    told = objections(version, model={"env": [{"name": "PYTHONPATH", "value": "/x"}]})
    message = 'setting PYTHONPATH in container "" is not allowed for security reasons'
    assert told == ([INVALID + message] if version in SINCE_18 else [])


@pytest.mark.parametrize("version", MULTI_NODE)
@pytest.mark.parametrize("mode", ["RawDeployment", "Standard"])
def test_only_v0_16_takes_the_old_mode_for_knative(version: str, mode: str) -> None:
    found = preview(
        [
            runtime(),
            service(
                version=version,
                annotations={"serving.kserve.io/deploymentMode": mode},
                deploymentStrategy={"type": "Recreate"},
            ),
        ],
        version,
    )
    unknown = "Standard" if version < "0.16" else "RawDeployment" if version == "0.16.0" else ""
    assert bool(found.of("refused")) is (mode == unknown)
    if found.of("refused"):
        assert (
            "deploymentStrategy is only supported for raw deployment mode" in found.of("refused")[0].message
        )


@pytest.mark.parametrize("version", MULTI_NODE)
def test_a_foreign_gpu_needs_the_annotation(version: str) -> None:
    asked = {"resources": gpus(1, "example.com/gpu")}
    allowed = {"serving.kserve.io/gpu-resource-types": '["example.com/gpu"]'}
    wrong = {"serving.kserve.io/gpu-resource-types": "example.com/gpu"}
    assert "Unknown GPU resource type" in objections(version, model=asked)[0]
    assert objections(version, model=asked, annotations=allowed) == []
    assert "must be a valid JSON array" in objections(version, model=asked, annotations=wrong)[0]


def test_a_refusal_names_the_field() -> None:
    body = service(model={"env": [{"name": "A"}, {"name": "PIPELINE_PARALLEL_SIZE", "value": "2"}]})
    (found,) = refusals_of_service(body, find("0.18.1"))
    assert found.steps == ("spec", "predictor", "model", "env", 1)


@pytest.mark.parametrize("name", ["1llm", "LLM", "llm-", "a.b"])
def test_names_that_kserve_refuses(name: str) -> None:
    assert (
        "must consist of lower case alphanumeric"
        in refusals_of_service(service(name=name), find("0.18.1"))[0].message
    )


def test_two_implementations_are_refused() -> None:
    body = service(containers=[{"name": "kserve-container", "image": "x"}])
    told = refusals_of_service(body, find("0.18.1"))[0].message
    assert told.startswith("exactly one of [SKLearn, XGBoost, ")
    assert told.endswith("Model, StorageUris, WorkerSpec, PodSpec] must be specified in PredictorSpec")
    newer = refusals_of_service(body, find("0.20.0"))[0].message
    assert newer.startswith("exactly one of [Name, SKLearn, ")
    assert "StorageUris, StorageContainerName, WorkerSpec, PodSpec]" in newer


@pytest.mark.parametrize(
    ("changes", "version", "message"),
    [
        pytest.param(
            {"worker": {"env": [{"name": "PYTHONPATH", "value": "x"}]}},
            "0.18.1",
            'the ServingRuntime "rt" is invalid: setting PYTHONPATH in container "worker-container" is not '
            "allowed for security reasons",
            id="pythonpath",
        ),
        pytest.param(
            {"head": {"env": [{"name": "TENSOR_PARALLEL_SIZE", "value": "2"}]}},
            "0.19.0",
            "the ServingRuntime rt is invalid: setting TENSOR_PARALLEL_SIZE in environment variables is not "
            "allowed",
            id="tp-as-env",
        ),
        pytest.param(
            {"head": {"resources": gpus(1, "x.com/gpu")}},
            "0.15.2",
            "the ServingRuntime rt is invalid: unknown GPU resource type in a container(kserve-container)",
            id="foreign-gpu",
        ),
        pytest.param(
            {"workerSpec": {"containers": [{"name": "worker-container"}]}},
            "0.15.0",
            "the ServingRuntime rt is invalid: pipelineParallelSize must be set when WorkerSpec is set",
            id="no-pp-in-0.15.0",
        ),
    ],
)
def test_a_runtime_is_refused(changes: dict[str, Any], version: str, message: str) -> None:
    assert refusals_of_runtime(runtime(**changes), find(version))[0].message == message


def test_a_runtime_may_not_lose_its_worker_spec() -> None:
    told = refusals_of_runtime(runtime(workerSpec=None), find("0.18.1"), [runtime()])
    assert told[0].message == (
        "the ServingRuntime rt is invalid: removing workerSpec where it already exists is not allowed"
    )


def test_a_refused_runtime_is_not_there() -> None:
    found = preview([runtime(head={"env": [{"name": "PYTHONPATH", "value": "x"}]}), service()], "0.18.1")
    assert found.of("refused")[0].kind == "ServingRuntime"
    assert found.of("refused")[0].rule == "python-path"
    assert "runtime-unknown" in {one.rule for one in found.findings}
    assert found.objects == []

"""What is accepted and then never serves, and what is dropped or overwritten: each with its field."""

from typing import Any

import pytest

from kserve_inputs import VERSIONS, gpus, runtime, service
from vllm_multinode.authoring.preview import preview

LIMITS = {"resources": {"limits": {"nvidia.com/gpu": "4"}}}


@pytest.mark.parametrize("version", [one for one in VERSIONS if one != "0.20.0"])
def test_what_is_right_serves(version: str) -> None:
    found = preview([runtime(), service(version=version)], version)
    assert found.serves
    assert found.of("stalls") == []


@pytest.mark.parametrize(
    ("version", "parts", "text", "path"),
    [
        pytest.param(
            "0.14.1", {}, "does not know workerSpec", "spec.predictor.workerSpec", id="0.14-drops-workers"
        ),
        pytest.param("0.20.0", {}, "kserve#6113", "spec.predictor.workerSpec", id="0.20-deletes-workers"),
        pytest.param(
            "0.18.1",
            {"runtime": {"workerSpec": None}},
            "panics on every reconcile",
            "spec.predictor.workerSpec",
            id="runtime-without-workers",
        ),
        pytest.param(
            "0.18.1", {"model": None}, "gets no ServingRuntime", "spec.predictor.workerSpec", id="no-model"
        ),
        pytest.param(
            "0.18.1",
            {"name": "l" * 42},
            "has 64 characters, and 63 are allowed",
            "metadata.name",
            id="label-too-long",
        ),
        pytest.param(
            "0.18.1", {"name": "l" * 60}, "failed creating host name", "metadata.name", id="host-too-long"
        ),
        pytest.param(
            "0.18.1",
            {"name": "my-predictor"},
            "look for their head at my-head-1",
            "metadata.name",
            id="name-ends-in-predictor",
        ),
        pytest.param(
            "0.20.0",
            {"name_of_predictor": "blue"},
            "llm-blue-head-1",
            "spec.predictor.name",
            id="predictor-name",
        ),
        pytest.param(
            "0.18.1",
            {"annotations": {"serving.kserve.io/deploymentMode": "Serverless"}},
            "Only raw deployments have workers",
            "metadata.annotations['serving.kserve.io/deploymentMode']",
            id="serverless",
        ),
        pytest.param(
            "0.18.1",
            {"model": {"modelFormat": {"name": "onnx"}}},
            "NoSupportingRuntime",
            "spec.predictor.model.modelFormat",
            id="other-format",
        ),
        pytest.param(
            "0.18.1",
            {"runtime": {"disabled": True}},
            "RuntimeDisabled",
            "spec.predictor.model.runtime",
            id="disabled",
        ),
        pytest.param(
            "0.18.1", {"minReplicas": 0}, "creates no head", "spec.predictor.minReplicas", id="no-head"
        ),
        pytest.param("0.18.1", {"minReplicas": 2}, "2 heads", "spec.predictor.minReplicas", id="two-heads"),
        pytest.param(
            "0.18.1",
            {"worker": {"containers": [{"name": "worker"}]}},
            "target container(worker-container) does not exist",
            "spec.predictor.workerSpec.containers[0].name",
            id="worker-by-another-name",
        ),
        pytest.param(
            "0.18.1",
            {
                "model": {"resources": gpus(1)},
                "worker": {
                    "tensorParallelSize": 8,
                    "pipelineParallelSize": 1,
                    "containers": [{"name": "worker-container", "resources": gpus(4)}],
                },
            },
            "InvalidGPUAllocation",
            "spec.predictor.workerSpec",
            id="too-few-gpus",
        ),
        pytest.param(
            "0.18.1",
            {"annotations": {"multinode/executor-backend": "mp"}, "worker": {"tensorParallelSize": 8}},
            "mp on the InferenceService for ray",
            "metadata.annotations['multinode/executor-backend']",
            id="executor-on-the-service",
        ),
        pytest.param(
            "0.16.0",
            {"model": {"storageUri": "oci://a/b"}},
            "rejects every worker pod",
            "spec.predictor.model.storageUri",
            id="oci-in-0.16",
        ),
        pytest.param(
            "0.18.1",
            {"volumes": [{"name": "shm", "hostPath": {"path": "/x"}}]},
            "has 2 sources",
            "spec.predictor.volumes[0]",
            id="a-volume-with-two-sources",
        ),
        pytest.param(
            "0.18.1",
            {"model": {"volumeMounts": [{"name": "gone", "mountPath": "/x"}]}},
            "'gone', which the pod does not have",
            "spec.predictor.model.volumeMounts[0]",
            id="a-mount-without-volume",
        ),
        pytest.param(
            "0.18.1",
            {"model": {"env": [{"name": "POD_IP", "value": "1.2.3.4"}]}},
            "a value and a valueFrom",
            "spec.predictor.model.env[0]",
            id="value-and-valueFrom",
        ),
        pytest.param(
            "0.18.1",
            {"model": {"volumeMounts": [{"name": "shm", "mountPath": "/mnt/models"}]}},
            "/mnt/models is mounted 2 times",
            "spec.predictor.model.volumeMounts",
            id="the-model's-path-is-taken",
        ),
        pytest.param(
            "0.18.1",
            {"model": {"ports": [{"containerPort": 9000}]}},
            "every port of the head's container needs a name",
            "spec.predictor.model",
            id="ports-without-names",
        ),
        pytest.param(
            "0.18.1",
            {"runtime": {"head": {"args": ["{{.Nope}}"]}}},
            "failed to replace placeholders",
            "spec.containers",
            id="placeholder",
        ),
    ],
)
def test_it_stalls(version: str, parts: dict[str, Any], text: str, path: str) -> None:
    changes = dict(parts)
    below = changes.pop("runtime", {})
    if changes.get("name_of_predictor"):
        body = service(version=version)
        body["spec"]["predictor"]["name"] = changes["name_of_predictor"]
    else:
        body = service(version=version, **changes)
    if changes.get("model", {}) is None:
        body["spec"]["predictor"].pop("model")
        body["spec"]["predictor"]["containers"] = [{"name": "kserve-container", "image": "x"}]
    found = preview([runtime(**below), body], version)
    assert {one.rule for one in found.of("refused")} <= {"unknown-field"}
    assert not found.serves
    matching = [one for one in found.of("stalls") if text in one.message]
    assert matching, [one.message for one in found.of("stalls")]
    assert matching[0].path == path


@pytest.mark.parametrize(("version", "stalls"), [("0.15.2", False), ("0.16.0", True)])
def test_knative_is_a_mode_from_v0_16(version: str, stalls: bool) -> None:
    raw = service(version=version)
    raw["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Knative"
    assert bool(preview([runtime(), raw], version).of("stalls")) is stalls


@pytest.mark.parametrize(("version", "stops"), [("0.15.2", False), ("0.16.0", True), ("0.19.0", True)])
def test_a_service_can_be_stopped_from_v0_16(version: str, stops: bool) -> None:
    body = service(version=version, annotations={"serving.kserve.io/stop": "true"})
    found = preview([runtime(), body], version)
    assert bool(found.of("stalls")) is stops
    assert bool(found.objects) is not stops


def test_v0_20_keeps_what_the_inference_service_wrote_of_value_and_value_from() -> None:
    body = service(model={"env": [{"name": "POD_IP", "value": "1.2.3.4"}]})
    found = preview([runtime(), body], "0.20.0")
    head = found.groups[0].roles[0].pod["containers"][0]
    assert {"name": "POD_IP", "value": "1.2.3.4"} in head["env"]
    assert not any("valueFrom" in one.message for one in found.of("stalls"))


@pytest.mark.parametrize(
    ("version", "parts", "text"),
    [
        pytest.param(
            "0.18.1",
            {"model": {"runtime": "other"}},
            "neither among the files nor known",
            id="unknown-runtime",
        ),
        pytest.param("0.18.1", {"model": LIMITS}, "under limits only", id="limits-only"),
        pytest.param(
            "0.18.1", {"nodeSelector": {"a": "b"}}, "nodeSelector is set only for the head", id="placement"
        ),
        pytest.param("0.18.1", {"model": {"image": "other:1"}}, "only the head runs other:1", id="image"),
        pytest.param(
            "0.18.1",
            {"runtime": {"worker": {"args": ["{{.Name}}"]}}},
            "{{.Name}} is not filled in",
            id="placeholder-of-workers",
        ),
        pytest.param(
            "0.18.1",
            {"model": {"env": [{"name": "A", "value": ""}]}},
            "An empty value does not reach",
            id="empty-value",
        ),
        pytest.param(
            "0.18.1",
            {
                "annotations": {"serving.kserve.io/gpu-resource-types": '["a.com/g"]'},
                "model": {"resources": gpus(1, "a.com/g")},
            },
            "is allowed but not counted",
            id="foreign-gpu",
        ),
        pytest.param("0.16.0", {}, "three newest head Services", id="head-services"),
        pytest.param("0.19.0", {}, "never reports Ready", id="never-ready"),
        pytest.param(
            "0.15.0",
            {"model": {"resources": gpus(4)}},
            "request of 4 GPUs is overwritten by 1",
            id="0.15.0-overwrites",
        ),
    ],
)
def test_it_warns_and_serves(version: str, parts: dict[str, Any], text: str) -> None:
    changes = dict(parts)
    below = changes.pop("runtime", {})
    found = preview([runtime(**below), service(version=version, **changes)], version)
    assert found.serves, found.of("stalls")
    told = [*found.notes, *(one.message for one in found.findings)]
    assert any(text in one for one in told), told


@pytest.mark.parametrize("version", ["0.17.1", "0.18.1"])
def test_a_runtime_carries_its_scheduler_from_v0_17(version: str) -> None:
    found = preview([runtime(schedulerName="kueue"), service()], version)
    assert found.groups[0].roles[0].pod["schedulerName"] == "kueue"
    assert found.groups[0].roles[1].pod["schedulerName"] == "default-scheduler"


def test_the_runtime_of_another_namespace_is_not_taken() -> None:
    there, here = runtime(), service()
    there["metadata"]["namespace"], here["metadata"]["namespace"] = "a", "b"
    assert "runtime-unknown" in {one.rule for one in preview([there, here], "0.18.1").findings}

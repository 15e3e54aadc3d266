"""Deploy, wait, status and delete from Python: bounded waits, and a cancel from another thread."""

import threading
import time
from collections.abc import Callable

import pytest

from unit.cluster.stub_api import StubApi
from vllm_multinode import (
    DeploymentSpec,
    ExitCode,
    Login,
    Model,
    MultinodeError,
    Parallelism,
    delete,
    deploy,
    status,
    wait,
)

MODELS = Login(namespace="models")
SPEC = DeploymentSpec(
    name="llama",
    model=Model(claim="models", path="llama", size="131Gi"),
    parallelism=Parallelism(tensor=8, pipeline=2),
)
PLATFORM = "kserve-0.19.0"


def test_the_whole_cycle(kserve_api: StubApi) -> None:
    told: list[str] = []
    created = {one.shown for one in deploy(SPEC, MODELS, platform=PLATFORM, progress=told.append).outcomes}
    assert "InferenceService models/llama" in created
    again = deploy(SPEC, MODELS, platform=PLATFORM)
    assert {one.result for one in again.outcomes} == {"unchanged"}
    (served,) = wait("llama", MODELS, timeout=120, progress=told.append)
    assert (served.name, served.url) == ("llama", "http://llama.example.com")
    (now,) = status("llama", MODELS)
    assert (now.name, now.state) == (served.name, served.state)
    assert [one.name for one in status(login=MODELS)] == ["llama"]
    for key in [key for key in kserve_api.objects if key[0] == "pods"]:
        del kserve_api.objects[key]
    deleted = delete("llama", MODELS, timeout=60)
    assert "InferenceService models/llama" in deleted.gone
    assert kserve_api.get("inferenceservices", "llama", "models") is None
    assert delete("llama", MODELS).gone == []
    with pytest.raises(MultinodeError) as caught:
        status("llama", MODELS)
    assert caught.value.code == ExitCode.NOT_SERVING


def test_a_dry_run_writes_nothing(idle_api: StubApi) -> None:
    deploy(SPEC, MODELS, platform=PLATFORM, dry_run=True)
    assert idle_api.written() == []


def test_a_wait_has_a_bound(idle_api: StubApi) -> None:
    deploy(SPEC, MODELS, platform=PLATFORM)
    with pytest.raises(MultinodeError) as caught:
        wait("llama", MODELS, timeout=1)
    assert caught.value.code == ExitCode.NOT_SERVING


def _cancelled(call: Callable[[threading.Event], object]) -> MultinodeError:
    """What a call raises that another thread cancels while it waits."""
    cancel = threading.Event()
    timer = threading.Timer(0.5, cancel.set)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(MultinodeError) as caught:
        call(cancel)
    timer.join()
    assert time.monotonic() - begun < 300, "it waited to its bound of 600 s"
    return caught.value


def test_a_wait_is_cancelled(idle_api: StubApi) -> None:
    deploy(SPEC, MODELS, platform=PLATFORM)
    error = _cancelled(lambda cancel: wait("llama", MODELS, timeout=600, cancel=cancel))
    assert error.code == ExitCode.INTERRUPTED
    assert idle_api.get("inferenceservices", "llama", "models") is not None


def test_waiting_for_the_model_is_cancelled(idle_api: StubApi) -> None:
    idle_api.put(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": "files",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "example.com/files",
        }
    )
    source = Model(source="hf://org/llama", size="131Gi")
    spec = SPEC.model_copy(update={"model": source})
    error = _cancelled(
        lambda cancel: deploy(spec, MODELS, platform=PLATFORM, timeout=600, cancel=cancel, force=True)
    )
    assert error.code == ExitCode.INTERRUPTED
    assert [kind for kind, _, _ in idle_api.objects if kind == "jobs"] == ["jobs"]
    assert idle_api.get("inferenceservices", "llama", "models") is None


def test_waiting_for_the_end_of_pods_is_cancelled(idle_api: StubApi) -> None:
    deploy(SPEC, MODELS, platform=PLATFORM)
    service = idle_api.get("inferenceservices", "llama", "models")
    assert service is not None
    service["metadata"]["finalizers"] = ["example.com/never"]
    idle_api.put(service)
    error = _cancelled(lambda cancel: delete("llama", MODELS, timeout=600, cancel=cancel))
    assert error.code == ExitCode.INTERRUPTED

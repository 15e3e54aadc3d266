"""`multinode deploy`, `wait` and `delete` in a real Kubernetes with a real KServe.

No kubelet runs here: the test writes the pods' status, and answers in the place of their supervisors.
"""

import copy
import json
from pathlib import Path

import pytest
import yaml

from controlplane.deployments import (
    Object,
    Supervisor,
    leader_worker_set,
    members,
    run_pods,
    runtime,
    service,
    supervisor,
    write_status,
)
from controlplane.plane.kubectl import Kubectl
from controlplane.plane.running import Plane
from engine.services import eventually
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode


class Here:
    """Command lines in one namespace; files are written beside."""

    def __init__(
        self, plane: Plane, kubectl: Kubectl, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.plane = plane
        self.kubectl = kubectl
        self._folder = folder
        self._capsys = capsys

    def deploy(
        self, *bodies: Object, more: tuple[str, ...] = ("--no-wait",), code: ExitCode = ExitCode.OK
    ) -> str:
        """What deploy prints, on both streams."""
        file = self._folder / "given.yaml"
        file.write_text(yaml.safe_dump_all(bodies))
        return self("deploy", "-f", str(file), "--kserve", self.plane.kserve, *more, code=code)

    def __call__(self, *arguments: str, code: ExitCode = ExitCode.OK) -> str:
        self._capsys.readouterr()
        ended = run([*arguments, "-n", self.kubectl.namespace])
        told = self._capsys.readouterr()
        assert ended == code, told.out + told.err
        return told.out + told.err


@pytest.fixture
def here(
    plane: Plane,
    kubectl: Kubectl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Here:
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    return Here(plane, kubectl, tmp_path, capsys)


def stored(kubectl: Kubectl) -> dict[str, Object]:
    """Services and runtimes as they are stored, the status apart."""
    kinds = "inferenceservices,servingruntimes"
    text = kubectl("get", kinds, "-o", "json", "--show-managed-fields")
    found = json.loads(text)["items"]
    for one in found:
        one.pop("status", None)
        # KServe writes the status whenever it likes.
        one["metadata"].pop("resourceVersion")
        entries = one["metadata"]["managedFields"]
        one["metadata"]["managedFields"] = [entry for entry in entries if entry["operation"] == "Apply"]
    return {one["kind"]: one for one in found}


def test_deploy_again_update_and_delete(here: Here) -> None:
    here.kubectl("create", "configmap", "theirs")
    told = here.deploy(runtime(), service(here.plane))
    assert told.count("created") == 2
    eventually(lambda: len(here.kubectl.list("pods")) == 2)
    before = stored(here.kubectl)
    settled = here.kubectl.get("servingruntime", "over-nodes")["metadata"]["resourceVersion"]

    told = here.deploy(runtime(), service(here.plane))
    assert told.count("unchanged") == 2
    assert "left over from an earlier deployment" not in told
    assert stored(here.kubectl) == before
    assert here.kubectl.get("servingruntime", "over-nodes")["metadata"]["resourceVersion"] == settled

    told = here.deploy(runtime(), service(here.plane, terminationGracePeriodSeconds=60))
    assert "its pods end first" in told
    assert "ServingRuntime" in told.split(" unchanged")[0]
    assert f"InferenceService {here.kubectl.namespace}/llm changed" in told
    assert stored(here.kubectl)["InferenceService"]["metadata"]["generation"] == 2

    told = here("delete", "llm")
    assert told.count("deleted") == 2
    for kinds in ("inferenceservices,servingruntimes", "deployments,services,pods"):
        assert here.kubectl.list(kinds) == []
    assert here.kubectl.get("configmap", "theirs")
    assert "llm has nothing to delete" in here("delete", "llm")


def test_a_rolling_update_is_announced(here: Here) -> None:
    rolling = {"deploymentStrategy": {"type": "RollingUpdate"}}
    here.deploy(runtime(), service(here.plane, **rolling))
    told = here.deploy(runtime(), service(here.plane, **rolling, terminationGracePeriodSeconds=60))
    assert "needs a second set of GPUs" in told


def test_a_dry_run_asks_kserve_and_writes_nothing(here: Here) -> None:
    told = here.deploy(runtime(), service(here.plane), more=("--dry-run",))
    assert told.count("created (dry run)") == 2
    assert here.kubectl.list("inferenceservices,servingruntimes") == []


def test_another_manager_owns_a_field(here: Here) -> None:
    here.deploy(runtime(), service(here.plane))
    theirs = service(here.plane, terminationGracePeriodSeconds=90)
    here.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager=argocd", "-f", "-", documents=[theirs]
    )
    ours = service(here.plane, terminationGracePeriodSeconds=60)
    told = here.deploy(runtime(), ours, code=ExitCode.CONFLICT)
    assert "argocd owns .spec.predictor.terminationGracePeriodSeconds" in told
    assert (
        stored(here.kubectl)["InferenceService"]["spec"]["predictor"]["terminationGracePeriodSeconds"] == 90
    )
    assert "changed" in here.deploy(runtime(), ours, more=("--no-wait", "--force-conflicts"))
    assert (
        stored(here.kubectl)["InferenceService"]["spec"]["predictor"]["terminationGracePeriodSeconds"] == 60
    )


def test_what_others_made_is_not_deleted(here: Here) -> None:
    here.kubectl.apply(runtime())
    told = here.deploy(runtime(), service(here.plane))
    assert "over-nodes unchanged (owned by others" in told
    here("delete", "llm")
    assert here.kubectl.get("servingruntime", "over-nodes")


def test_kserve_refuses_in_its_own_words(here: Here) -> None:
    body = service(here.plane)
    body["spec"]["predictor"]["model"]["storageUri"] = "s3://bucket/llm"
    told = here.deploy(runtime(), body, more=("--no-wait", "--force"), code=ExitCode.WILL_NOT_SERVE)
    last = told.splitlines()[-1]
    assert "KServe rejects it: " in last
    assert "Storage Protocol" in last
    # Asked before anything was written.
    assert here.kubectl.list("inferenceservices,servingruntimes") == []


def test_a_field_that_does_not_exist(here: Here) -> None:
    body = service(here.plane, terminationGraceSeconds=3)
    told = here.deploy(runtime(), body, more=("--no-wait", "--force"), code=ExitCode.WILL_NOT_SERVE)
    assert "terminationGraceSeconds" in told.splitlines()[-1]
    assert "Traceback" not in told


def test_a_namespace_that_is_not_there(here: Here) -> None:
    name = f"{here.kubectl.namespace}-more"
    absent = Here(here.plane, here.plane.kubectl(name), here._folder, here._capsys)
    told = absent.deploy(runtime(), service(here.plane), code=ExitCode.NAMESPACE_MISSING)
    assert f"there is no namespace '{name}'" in told
    told = absent.deploy(runtime(), service(here.plane), more=("--no-wait", "--create-namespace"))
    assert told.count("created") == 2
    absent("delete", "llm")
    absent.kubectl("delete", "namespace", name, "--wait=false")


def test_a_login_without_rights(here: Here, plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(plane.guest))
    told = here.deploy(runtime(), service(plane), code=ExitCode.FORBIDDEN)
    last = told.splitlines()[-1]
    assert f"may not get inferenceservices.serving.kserve.io in namespace {here.kubectl.namespace}" in last


def test_a_token_that_is_not_known(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = yaml.safe_load(here.plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "one-that-has-expired"}
    (tmp_path / "expired").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "expired"))
    told = here("wait", "llm", code=ExitCode.UNAUTHORIZED)
    assert "expired or is unknown there" in told
    assert "one-that-has-expired" not in told


def test_an_unknown_runtime_ends_the_wait(here: Here) -> None:
    body = service(here.plane)
    body["spec"]["predictor"]["model"]["runtime"] = "nowhere"
    more = ("--force", "--timeout", "60")
    told = here.deploy(body, more=more, code=ExitCode.NOT_SERVING).splitlines()[-1]
    assert "RuntimeNotRecognized" in told
    assert "Use a ServingRuntime that exists" in told


def test_too_few_gpus_end_the_wait(here: Here) -> None:
    """Two GPUs a worker hold less than TP x PP."""
    body = service(here.plane, workerSpec={"pipelineParallelSize": 2, "tensorParallelSize": 4})
    asked = runtime()
    for one in (asked["spec"], asked["spec"]["workerSpec"]):
        one["containers"][0]["resources"] = {
            part: {"nvidia.com/gpu": "3" if one is asked["spec"]["workerSpec"] else "1"}
            for part in ("requests", "limits")
        }
    more = ("--force", "--timeout", "60")
    told = here.deploy(asked, body, more=more, code=ExitCode.NOT_SERVING).splitlines()[-1]
    assert "InvalidGPUAllocation" in told


def test_a_pod_that_cannot_be_scheduled(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm_multinode.cluster import pod_states

    monkeypatch.setattr(pod_states, "SCHEDULING_PATIENCE", 0.0)
    here.deploy(runtime(), service(here.plane))
    eventually(lambda: len(here.kubectl.list("pods")) == 2)
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    for pod in here.kubectl.list("pods"):
        write_status(here.kubectl, pod, {"phase": "Pending", "conditions": [condition]})
    told = here("wait", "llm", "--timeout", "60", code=ExitCode.NOT_SERVING).splitlines()[-1]
    assert message in told
    assert "Free nvidia.com/gpu" in told


def serves(here: Here, given: list[Object], head: Supervisor) -> None:
    """Deploy, run the pods, and wait: not before the head serves."""
    here.deploy(*copy.deepcopy(given))
    eventually(lambda: len(here.kubectl.list("pods")) == 2, seconds=60)
    run_pods(here.kubectl, head.address)
    told = here("wait", "llm", "--timeout", "5", code=ExitCode.NOT_SERVING)
    assert "starting (epoch 1)" in told, told
    head.said = members(here.kubectl, "serving")
    told = here("wait", "llm", "--timeout", "60")
    assert told.count(": serving") == 2
    assert " serves" in told


def test_wait_until_the_head_serves(here: Here) -> None:
    with supervisor() as head:
        serves(here, [runtime(head.port), service(here.plane)], head)


def test_a_leader_worker_set(here: Here) -> None:
    with supervisor() as head:
        serves(here, [leader_worker_set(head.port)], head)
        assert "unchanged" in here.deploy(leader_worker_set(head.port))
    assert "LeaderWorkerSet" in here("delete", "llm")
    assert here.kubectl.list("leaderworkersets,statefulsets,pods") == []

"""From a model on a hub to the real engine's answer: `multinode up`, and an overlay without our programs.

The fetch Job is run by the small kubelet, against a hub that is a Pod beside it.
"""

import json
import os
import secrets
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from controlplane import hub
from controlplane.kubelet.kubelet import Kubelet, kubelet
from controlplane.plane.kubectl import Kubectl
from controlplane.plane.running import Plane
from controlplane.test_closed_loop import PATIENCE, Served, condition, image
from engine.services import eventually
from vllm_multinode.contract import ports
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run import ask, isvc
from vllm_multinode.local.tiny_model.make_model import make_model

needs_engine = pytest.mark.skipif(
    find_spec("vllm") is None, reason="no vLLM here; `multinode local install` installs it"
)
OVERLAY = Path(__file__).parents[2] / "overlays/tiny"
NAME = "tiny"
ON_CPUS = (
    *("--gpu", "cpu", "--gpu-memory", "4", "--gpus-per-node", "1"),
    *("--pipeline-parallel", "2", "--context", "512"),
)


@dataclass
class Here:
    """A namespace with a hub in it, whose Pods run here.

    Args:
        plane: the control plane.
        kubectl: in the namespace.
        kubelet: that runs its Pods.
        environment: of command lines.
        folder: for files.
    """

    plane: Plane
    kubectl: Kubectl
    kubelet: Kubelet
    environment: dict[str, str]
    folder: Path

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """A command line in this namespace, running."""
        return subprocess.Popen(
            [isvc.program(), *arguments, "-n", self.kubectl.namespace],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What a command line prints."""
        process = self.start(*arguments)
        told = process.communicate(timeout=PATIENCE)[0]
        self.kubelet.check()
        assert process.returncode == code, "\n".join((told, *self.kubelet.logs().values()))
        return told

    def up(self, *more: str, code: int = 0, source: str = hub.SOURCE) -> str:
        """The model that the hub has, on two nodes."""
        return self(*self.command(source), *more, code=code)

    def command(self, source: str = hub.SOURCE) -> tuple[str, ...]:
        """Without its options for waiting."""
        version = self.plane.kserve.removeprefix("v")
        options = ("--name", NAME, "--kserve", version, "--source", source, "--yes")
        return ("up", hub.SOURCE, *ON_CPUS, *options)

    def spec(self, source: str) -> Path:
        """A file with a spec of two nodes without accelerators."""
        body = {
            "name": NAME,
            "model": {"source": source, "size": "1Gi"},
            "parallelism": {"pipeline": 2},
            "accelerator": {"type": "none"},
        }
        file = self.folder / "spec.yaml"
        file.write_text(yaml.safe_dump(body))
        return file

    def objects(self) -> set[str]:
        """What there is in the namespace besides the hub, as kind/name."""
        kinds = (
            "inferenceservices,servingruntimes,jobs,secrets,configmaps,networkpolicies,pdb,pvc,deployments,"
            "services,pods,serviceaccounts,roles,rolebindings"
        )
        listed = self.kubectl("get", kinds, "-o", "name").split()
        own = ("/hub", "/kube-root-ca.crt", "serviceaccount/default")
        return {line for line in listed if not line.endswith(own)}

    def answer(self, name: str) -> ask.Answer:
        """A completion from the head's Pod."""
        [head] = self.kubectl.list("pods", f"app=isvc.{name}-predictor")
        return ask.ask(self.kubelet.url(head["metadata"]["name"], ports.API), "One two three", tokens=8)


@pytest.fixture
def here(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """Skips where this machine allows no namespaces."""
    name = f"up-{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("u")
    make_model(folder / "model")
    kubectl = plane.kubectl(name)
    shared = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "example.com/shared",
    }
    with ExitStack() as ends:
        plane.kubectl()("create", "namespace", name)
        ends.callback(plane.kubectl(), "delete", "namespace", name, "--wait=false")
        plane.kubectl().apply(shared)
        ends.callback(plane.kubectl(), "delete", "storageclass", name)
        try:
            running = ends.enter_context(
                kubelet(
                    plane.kubeconfig,
                    name,
                    nodes=8,
                    claims={hub.CLAIM: folder / "model"},
                    image=image() | {"HF_ENDPOINT": hub.ENDPOINT},
                    folder=folder,
                    egress=plane.egress,
                )
            )
        except MultinodeError as error:
            if error.code is ExitCode.NAMESPACES:
                pytest.skip(str(error))
            raise
        kubectl.apply(*hub.objects())
        eventually(lambda: condition(kubectl.get("pod", hub.NAME), "Ready") == "True")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KUBECONFIG": str(plane.kubeconfig),
            "HF_ENDPOINT": running.url(hub.NAME, ports.API),
        }
        yield Here(plane, kubectl, running, environment, folder)


@needs_engine
@pytest.mark.engine
@pytest.mark.oldest_kserve
def test_from_a_model_s_name_to_an_answer_and_back(here: Here) -> None:
    told = here.up()
    assert f"is whole: {hub.SOURCE}" in told
    assert "curl http://localhost:8080/v1/chat/completions" in told
    assert "-pp2-" in here.answer(NAME).fingerprint
    made = here.objects()
    assert {f"secret/{NAME}-token", f"networkpolicy.networking.k8s.io/{NAME}"} < made
    assert f"poddisruptionbudget.policy/{NAME}" in made
    images = {one["image"] for pod in here.kubectl.list("pods") for one in pod["spec"]["containers"]}
    assert not any(one.startswith("vllm-multinode:") for one in images), images

    again = here.up()
    assert f"InferenceService {here.kubectl.namespace}/{NAME} unchanged" in again
    assert "created" not in again
    assert "changed" not in again.replace("unchanged", "")

    # A second service from the same claim.
    [job] = here.kubectl.list("jobs")
    pod = job["spec"]["template"] | {"metadata": {"labels": {"app": "second"}}}
    second = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "second"}}
    here.kubectl.apply(second | {"spec": {"template": pod}})
    eventually(lambda: here.kubectl.get("job", "second").get("status", {}).get("succeeded"), PATIENCE)
    [one] = here.kubectl.list("pods", "app=second")
    assert here.kubectl("logs", one["metadata"]["name"]).count("\n") == 1
    here.kubectl("delete", "job", "second")

    deleted = here("delete", NAME)
    assert f"PersistentVolumeClaim {here.kubectl.namespace}/{NAME}-model kept" in deleted
    kept = f"persistentvolumeclaim/{NAME}-model"
    eventually(lambda: here.objects() == {kept}, why=lambda: str(here.objects()))


@needs_engine
@pytest.mark.engine
@pytest.mark.oldest_kserve
def test_an_overlay_brings_its_model_without_any_program_of_ours(here: Here) -> None:
    here.kubectl("apply", "-k", OVERLAY)
    service = Served(here.kubectl, here.kubelet, "tiny-vllm", here.plane.kserve)
    service.ready(1)
    assert "-pp2-" in here.answer("tiny-vllm").fingerprint
    assert here.kubectl.get("secret", "tiny-vllm-token")["data"]["token"]


def through(router: str) -> str:
    """A completion's fingerprint; the model's name is not asked for, as the router asks one head alone."""
    body = json.dumps({"model": NAME, "prompt": "One two three", "max_tokens": 8}).encode()
    request = urllib.request.Request(
        f"{router}/v1/completions", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return str(json.load(answer)["system_fingerprint"])


@needs_engine
@pytest.mark.engine
def test_two_groups_answer_through_the_router(here: Here, request: pytest.FixtureRequest) -> None:
    if not any(request.config.getoption(option) for option in ("--all-versions", "--kserve")):
        pytest.skip("four nodes with the engine take minutes; with --all-versions or --kserve")
    told = here.up("--replicas", "2")
    assert "Replicas: 2, behind 2 pods of vllm-router" in told
    assert f"service/{NAME}-api" in told
    routers = [
        pod["metadata"]["name"] for pod in here.kubectl.list("pods", "app.kubernetes.io/component=router")
    ]
    assert len(routers) == 2
    for pod in routers:
        assert "-pp2-" in through(here.kubelet.url(pod, ports.API))

    again = here.up("--replicas", "2")
    assert "created" not in again
    assert "changed" not in again.replace("unchanged", "")

    # With one of the groups away the other answers.
    here.kubectl("delete", "inferenceservice", f"{NAME}-0", "--wait=false")
    eventually(lambda: not here.kubectl.list("pods", f"app=isvc.{NAME}-0-predictor"), PATIENCE)
    for pod in routers:
        assert "-pp2-" in through(here.kubelet.url(pod, ports.API))

    told = here("delete", NAME)
    assert f"PersistentVolumeClaim {here.kubectl.namespace}/{NAME}-model kept" in told
    kept = f"persistentvolumeclaim/{NAME}-model"
    eventually(lambda: here.objects() == {kept}, PATIENCE, lambda: str(here.objects()))


def test_a_source_that_is_not_there_is_said_before_anything_is_written(here: Here) -> None:
    told = here.up(source="hf://org/elsewhere", code=ExitCode.MODEL_MISSING)
    last = told.splitlines()[-1]
    assert last.startswith("multinode: hf://org/elsewhere: ")
    assert "Nothing was written" in last
    assert "Traceback" not in told
    assert not here.objects()
    # Where this machine cannot ask, the Job does.
    here.environment["HF_HUB_OFFLINE"] = "1"
    away = ("deploy", "-f", str(here.spec(source="hf://org/elsewhere")), "--kserve", here.plane.kserve)
    told = here(*away, code=ExitCode.NOT_SERVING)
    assert "the Job will check it" in told
    last = told.splitlines()[-1]
    assert last.startswith(f"multinode: Job {here.kubectl.namespace}/{NAME}-fetch-")
    assert "hf://org/elsewhere" in last
    assert here.kubectl.list("inferenceservices") == []
    here("delete", NAME, "--claim")
    eventually(lambda: not here.objects(), why=lambda: str(here.objects()))


def test_it_is_stopped_in_the_middle_and_goes_on(here: Here) -> None:
    # Whoever waits for the model waits for this too.
    here.kubectl("delete", "service", hub.NAME)
    process = here.start(*here.command())
    assert process.stdout is not None
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Waiting for Job"):
            process.send_signal(signal.SIGINT)
    watchdog.cancel()
    process.stdout.close()
    assert process.wait() == ExitCode.INTERRUPTED, "".join(lines)
    assert "multinode: stopped. What was written stays" in lines[-1], "".join(lines)
    assert here.kubectl.list("inferenceservices") == []
    here.kubectl.apply(*hub.objects()[1:])
    eventually(lambda: here.kubectl.list("jobs")[0].get("status", {}).get("succeeded"), PATIENCE)
    here("delete", NAME, "--claim")


@dataclass
class Refused:
    """Command lines in a namespace without Pods; nothing may be written by them."""

    here: Kubectl
    environment: dict[str, str]
    folder: Path
    version: str

    def __call__(self, *more: str, code: ExitCode, spec: Mapping[str, object] | None = None) -> str:
        """The one line that it ends with."""
        file = self.folder / "spec.yaml"
        body = {
            "name": "llm",
            "model": {"source": hub.SOURCE, "size": "10Gi", "sourceSecret": "hf-token"},
            "parallelism": {"tensor": 8, "pipeline": 2},
        }
        file.write_text(yaml.safe_dump({**body, **(spec or {})}))
        command = [isvc.program(), "deploy", "-f", str(file), "--kserve", self.version, "--no-wait"]
        done = subprocess.run(
            [*command, "-n", self.here.namespace, *more],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        kinds = "inferenceservices,servingruntimes,jobs,secrets,networkpolicies,pdb,deployments"
        left = self.here("get", kinds, "-o", "name").split()
        assert set(left) <= {"secret/hf-token"}, left
        return (done.stderr.splitlines() or [""])[-1]


@pytest.fixture
def refused(plane: Plane, kubectl: Kubectl, tmp_path: Path) -> Iterator[Refused]:
    """A namespace with the Secret, and a storage class that is the cluster's default."""
    kubectl("create", "secret", "generic", "hf-token", "--from-literal=token=x")
    shared = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": kubectl.namespace,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "example.com/shared",
    }
    plane.kubectl().apply(shared)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "KUBECONFIG": str(plane.kubeconfig),
        # No test asks the real hub whether a model is there.
        "HF_HUB_OFFLINE": "1",
    }
    yield Refused(kubectl, environment, tmp_path, plane.kserve.removeprefix("v"))
    plane.kubectl()("delete", "storageclass", kubectl.namespace)


def claim(kubectl: Kubectl, mode: str = "ReadWriteMany", size: str = "20Gi") -> None:
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "llm-model"},
            "spec": spec,
        }
    )


def test_what_is_missing_is_one_line_before_anything_is_written(refused: Refused, plane: Plane) -> None:
    kubectl = refused.here
    kubectl("delete", "secret", "hf-token")
    assert "kubectl create secret generic hf-token" in refused(code=ExitCode.MISSING)
    kubectl("create", "secret", "generic", "hf-token", "--from-literal=token=x")

    absent = {"source": hub.SOURCE, "size": "10Gi", "createClaim": {"storageClassName": "nowhere"}}
    assert "storage class nowhere does not exist" in refused(code=ExitCode.MISSING, spec={"model": absent})

    claim(kubectl, size="5Gi")
    assert "has 5Gi, but 11Gi are needed" in refused(code=ExitCode.MISSING)
    kubectl("delete", "pvc", "llm-model")
    claim(kubectl, mode="ReadWriteOnce")
    assert "not every node can mount it" in refused(code=ExitCode.MISSING)
    kubectl("delete", "pvc", "llm-model")

    quota = {"requests.nvidia.com/gpu": "8"}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": quota}}
    )
    assert "requests.nvidia.com/gpu: 16 needed, 8 left" in refused(code=ExitCode.MISSING)
    kubectl("delete", "quota", "q")

    refused.environment["KUBECONFIG"] = str(plane.guest)
    assert "may not get" in refused(code=ExitCode.FORBIDDEN)


def test_a_restricted_namespace_takes_all_of_it(refused: Refused, plane: Plane) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    plane.kubectl()("label", "namespace", refused.here.namespace, label)
    refused("--dry-run", code=ExitCode.OK)

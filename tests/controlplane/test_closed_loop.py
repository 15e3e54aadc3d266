"""From `kubectl apply -k` of a rendered folder to the real engine's answer, with KServe in between."""

import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubelet.kubelet import Kubelet, kubelet
from controlplane.plane import builds
from controlplane.plane.kubectl import Kubectl
from controlplane.plane.running import Plane
from engine.services import eventually
from vllm_multinode.cluster import forward
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract import ports
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run import ask, isvc
from vllm_multinode.local.tiny_model.make_model import make_model
from vllm_multinode.operate.bench.result import BenchResult
from vllm_multinode.operate.bench.tables import rows

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("vllm") is None, reason="no vLLM here; `multinode local install` installs it"
    ),
]

PATIENCE = 600.0
"""Seconds that a start of the engine, or its recovery, may take on a slow machine."""


def image() -> dict[str, str]:
    """What an image's ENV would say on this machine."""
    return {
        "PATH": f"{Path(isvc.program()).parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        # The nodes share this machine's few cores.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }


@dataclass
class Served:
    """One InferenceService, and where it lives.

    Args:
        kubectl: in its namespace.
        kubelet: that runs its Pods.
        name: of the InferenceService.
        version: of KServe.
    """

    kubectl: Kubectl
    kubelet: Kubelet
    name: str
    version: str

    @property
    def head(self) -> str:
        """Selects the head's Pod."""
        return f"app=isvc.{self.name}-predictor"

    @property
    def worker(self) -> str:
        """Selects the worker's Pod."""
        return f"{self.head}-worker"

    def render(self, spec: dict[str, Any], folder: Path) -> None:
        """Render a spec and apply what comes out; all as a user does it."""
        file, rendered = folder / "spec.json", folder / "rendered"
        file.write_text(json.dumps(spec))
        subprocess.run(
            [
                isvc.program(),
                "render",
                "-f",
                file,
                "--kserve",
                self.version.removeprefix("v"),
                "--out",
                rendered,
            ],
            check=True,
            capture_output=True,
        )
        self.kubectl("apply", "-k", rendered)

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """The Pods that are not on their way out."""
        self.kubelet.check()
        found = self.kubectl.list("pods", selector)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, generation: int) -> dict[str, Any]:
        """The InferenceService, as soon as this generation of it serves and KServe has noticed."""
        return eventually(lambda: self._ready(generation), PATIENCE, self._shown)

    def answer(self) -> ask.Answer:
        """A completion from the head's Pod."""
        [head] = self.pods(self.head)
        return ask.ask(self.kubelet.url(head["metadata"]["name"], ports.API), "One two three", tokens=8)

    def _ready(self, generation: int) -> dict[str, Any]:
        self.kubelet.check()
        found = self.kubectl.get("inferenceservice", self.name)
        # Not those of Jobs.
        pods = self.kubectl.list("pods", f"serving.kserve.io/inferenceservice={self.name}")
        current = all(
            condition(pod, "Ready") == "True"
            and pod["metadata"]["labels"]["isvc.generation"] == str(generation)
            for pod in pods
        )
        noticed = condition(found, "PredictorReady") == ("Unknown" if self._never_ready else "True")
        return found if len(pods) == 2 and current and noticed else {}

    @property
    def _never_ready(self) -> bool:
        """Whether this KServe never finds a multi-node service ready: kserve#5703, fixed in v0.20.0."""
        return "v0.16" <= self.version < "v0.20"

    def _shown(self) -> str:
        logs = (f"{name}:\n{text[-3000:]}" for name, text in self.kubelet.logs().items())
        found = self.kubectl("get", "inferenceservice,deployments,pods", "-o", "wide")
        status = self.kubectl("get", "inferenceservice", self.name, "-o", "jsonpath={.status}")
        return "\n".join((found, status, *logs))


def condition(body: dict[str, Any], kind: str) -> str:
    """A condition's status; nothing where it has none."""
    conditions = body.get("status", {}).get("conditions", [])
    return next((str(one["status"]) for one in conditions if one["type"] == kind), "")


@pytest.fixture(scope="session")
def claim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A claim's folder with a small random Llama in it."""
    folder = tmp_path_factory.mktemp("claim")
    make_model(folder / "tiny")
    return folder


@contextmanager
def serving(plane: Plane, name: str, claim: Path, folder: Path) -> Iterator[Served]:
    """A namespace of its own, whose Pods run here, for the service of that name."""
    namespace = f"loop-{secrets.token_hex(4)}"
    plane.kubectl()("create", "namespace", namespace)
    try:
        with kubelet(
            plane.kubeconfig,
            namespace,
            nodes=4,
            claims={"models": claim},
            image=image(),
            folder=folder,
            egress=plane.egress,
        ) as found:
            yield Served(plane.kubectl(namespace), found, name, plane.kserve)
    except MultinodeError as error:
        if error.code is ExitCode.NAMESPACES:
            pytest.skip(str(error))
        raise
    finally:
        plane.kubectl()("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="class", params=["mp", "ray"])
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A deployment spec of two stages without accelerators."""
    return {
        "name": "tiny",
        "model": {"claim": "models", "path": "tiny"},
        "parallelism": {"pipeline": 2},
        "executor": request.param,
        "accelerator": {"type": "none"},
        "arguments": {"dtype": "float32"},
        "sharedMemory": "1Gi",
        "drain": 5,
    }


@pytest.fixture
def also_ray(request: pytest.FixtureRequest, spec: dict[str, Any]) -> None:
    """Ray heals and restarts in the tests over local nodes; here KServe does the same for both executors."""
    chosen = request.config.getoption("--all-versions") or request.config.getoption("--kserve")
    if spec["executor"] == "ray" and not chosen:
        pytest.skip("Ray's recovery and update take two minutes more; with --all-versions or --kserve")


@pytest.fixture(scope="class")
def served(
    plane: Plane, spec: dict[str, Any], claim: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A service on two nodes, rendered and applied; each test leaves it ready."""
    folder = tmp_path_factory.mktemp("k")
    with serving(plane, spec["name"], claim, folder) as service:
        service.render(spec, folder)
        yield service


class TestClosedLoop:
    """Its tests build on each other, in this order."""

    def test_what_was_applied_answers_over_two_nodes(self, served: Served) -> None:
        service = served.ready(1)
        assert condition(service, "Ready") == condition(service, "PredictorReady")
        for deployment in served.kubectl.list("deployments"):
            assert condition(deployment, "Available") == "True"
        assert "-pp2-" in served.answer().fingerprint
        nodes = {pod["spec"]["nodeName"] for pod in served.pods(served.head) + served.pods(served.worker)}
        assert len(nodes) == 2

    def test_it_is_measured_through_a_port_forward(
        self, served: Served, spec: dict[str, Any], claim: Path, tmp_path: Path
    ) -> None:
        if spec["executor"] != "mp":
            pytest.skip("the port-forward leads to the same API")
        builds.build(builds.STREAMING)
        folder = tmp_path / "bench"
        options = {
            "--namespace": served.kubectl.namespace,
            "--kubeconfig": str(served.kubectl.kubeconfig),
            "--concurrency": "1,6",
            "--input-tokens": "16",
            "--output-tokens": "16",
            # Its counters are read every two seconds, and six times say something.
            "--rung-seconds": "18",
            "--tokenizer": str(claim / spec["model"]["path"]),
            "--out": str(folder),
        }
        words = [word for pair in options.items() for word in pair]
        done = subprocess.run(
            [isvc.program(), "bench", served.name, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found = BenchResult.model_validate_json((folder / "result.json").read_text())
        assert [rung.concurrency for rung in found.rungs] == [1, 6]
        for rung in found.rungs:
            assert rung.errors == 0
            assert rung.requests >= 4 * rung.concurrency
        printed = [tuple(line.split()) for line in done.stdout.splitlines()]
        assert set(rows(found.rungs)) <= set(printed), done.stdout
        said = " ".join(done.stdout.split())
        assert found.verdicts
        assert all(f"{one.id}: {one.sentence}" in said for one in found.verdicts), done.stdout
        crowded = found.rungs[-1].window
        assert crowded is not None
        assert crowded.stages == 2
        assert {one.rank for one in crowded.processes} == {0, 1}
        # The engine counted what the load sent.
        assert crowded.engines[0].done == pytest.approx(found.rungs[-1].requests, abs=6)

    def test_an_api_key_reaches_the_engine_through_a_port_forward(
        self, served: Served, spec: dict[str, Any]
    ) -> None:
        if spec["executor"] != "mp":
            pytest.skip("the port-forward leads to the same API")
        [head] = served.pods(served.head)
        with Cluster.connect(
            kubeconfig=str(served.kubectl.kubeconfig), namespace=served.kubectl.namespace
        ) as cluster:
            code, body = forward.ask(cluster, head, ports.API, "v1/models", key="any")
            assert (code, json.loads(body)["data"][0]["id"]) == (200, served.name)
            with pytest.raises(MultinodeError) as refused:
                forward.ask(cluster, head, 9, "v1/models", key="any")
        assert refused.value.code is ExitCode.NOT_SERVING

    @pytest.mark.usefixtures("also_ray")
    def test_a_deleted_worker_is_replaced_and_the_group_heals(self, served: Served) -> None:
        before = served.answer()
        [head], [worker] = served.pods(served.head), served.pods(served.worker)
        served.kubectl("delete", "pod", worker["metadata"]["name"], "--wait=false")
        # Not ready first: until the head has noticed, all looks as before.
        eventually(lambda: condition(served.pods(served.head)[0], "Ready") == "False", PATIENCE)
        served.ready(1)
        [kept], [replaced] = served.pods(served.head), served.pods(served.worker)
        assert replaced["metadata"]["uid"] != worker["metadata"]["uid"]
        assert kept["metadata"]["uid"] == head["metadata"]["uid"]
        assert kept["status"]["containerStatuses"][0]["restartCount"] == 0
        assert served.answer() == before

    @pytest.mark.usefixtures("also_ray")
    def test_a_changed_spec_rolls_to_the_next_generation(
        self, served: Served, spec: dict[str, Any], tmp_path: Path
    ) -> None:
        before = served.answer()
        old = {pod["metadata"]["uid"] for pod in served.pods(served.head) + served.pods(served.worker)}
        served.render(spec | {"context": 64}, tmp_path)
        served.ready(2)
        new = served.pods(served.head) + served.pods(served.worker)
        assert len(new) == 2
        assert not old & {pod["metadata"]["uid"] for pod in new}
        assert served.answer().text == before.text

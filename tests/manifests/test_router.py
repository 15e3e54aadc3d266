"""The component replicas, run as it is written: the Kubernetes API names the heads, and they share evenly."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.services import eventually
from free_ports import free_port
from manifests.folders import build, of_kind
from manifests.leaf import leaf
from replicas.clients import Clients
from replicas.measure import spread
from replicas.routers import PROGRAM, status
from unit.cluster.stub_api import StubApi, serving

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
WEIGHTS = (3, 5, 9, 19)
EVEN = 0.10
REQUESTS = 1200
"""So many that the router's choice among two heads at random evens out."""
PATIENCE = 60.0
HEAD = Path(__file__).parent / "head.py"
pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="no vllm-router here; the extra dev brings it")


def pod(number: int, role: str = "head", **metadata: Any) -> dict[str, Any]:
    """A pod that is ready, with the labels of a leaf's."""
    labels = {"app.kubernetes.io/part-of": "mine-vllm", "app.kubernetes.io/component": role}
    address = ADDRESSES[number] if role == "head" else "127.0.0.9"
    ready = {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{role}-{number}", "namespace": "demo", "labels": labels, **metadata},
        "spec": {"containers": [{"name": "c"}]},
        "status": ready,
    }


@pytest.fixture
def api(tmp_path: Path) -> Iterator[StubApi]:
    """A Kubernetes API with three heads and a worker, and a kubeconfig for it."""
    with serving() as found:
        found.namespace("demo")
        for body in (*map(pod, range(3)), pod(0, "worker")):
            found.put(body)
        config = {
            "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": found.url}}],
            "users": [{"name": "ada", "user": {"token": "the-token-of-ada"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "ada", "namespace": "demo"}}],
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        yield found


def arguments(folder: Path, **ports: int) -> list[str]:
    """The router's, as a kubelet would expand them, on ports of this machine."""
    (deployment,) = of_kind(build(leaf(folder, "replicas", namePrefix="mine-")), "Deployment")
    template = deployment["spec"]["template"]
    part_of = template["metadata"]["labels"]["app.kubernetes.io/part-of"]
    text = "\n".join(template["spec"]["containers"][0]["args"])
    for name, value in {"$(POD_NAMESPACE)": "demo", "$(PART_OF)": part_of, "0.0.0.0": "127.0.0.1"}.items():
        text = text.replace(name, value)
    changed = {f"--{name.replace('_', '-')}": port for name, port in ports.items()}
    return [
        f"{name}={changed[name]}" if (name := one.partition("=")[0]) in changed else one
        for one in text.splitlines()
    ]


class Heads:
    """Three heads, each a process at an address of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._processes = [self._started(address) for address in ADDRESSES]

    def _started(self, address: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, HEAD, address, str(self.port), "0.1"])

    def kill(self, number: int) -> None:
        """End one at once."""
        self._processes[number].kill()
        self._processes[number].wait()

    def start(self, number: int) -> None:
        """Start it again; it counts from zero."""
        self._processes[number] = self._started(ADDRESSES[number])

    def answered(self, number: int) -> int | None:
        """Completions of one since it was started; None while it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://{ADDRESSES[number]}:{self.port}/health", timeout=5
            ) as answer:
                return int(answer.read())
        except OSError:
            return None

    def counts(self, of: Sequence[int]) -> list[int]:
        """Completions of each of these, which all run."""

        def found() -> list[int]:
            # A machine under load may be late.
            said = [count for one in of if (count := self.answered(one)) is not None]
            return said if len(said) == len(of) else []

        return eventually(found, PATIENCE)

    def share(self, of: Sequence[int], requests: int) -> list[int]:
        """What each of these heads answers while they answer so many together."""
        before = self.counts(of)

        def gained() -> list[int]:
            more = [now - first for now, first in zip(self.counts(of), before, strict=True)]
            return more if sum(more) >= requests else []

        return eventually(gained, PATIENCE)

    def end(self) -> None:
        """End all."""
        for number in range(len(ADDRESSES)):
            self.kill(number)


@pytest.fixture
def heads() -> Iterator[Heads]:
    """Heads that answer."""
    found = Heads()
    try:
        eventually(lambda: None not in [found.answered(one) for one in range(3)], PATIENCE)
        yield found
    finally:
        found.end()


@pytest.fixture
def router(api: StubApi, heads: Heads, tmp_path: Path) -> Iterator[str]:
    """Its URL, once it leads to a head."""
    port, log = free_port(), tmp_path / "router.log"
    words = arguments(
        tmp_path / "leaf", port=port, prometheus_port=free_port(), service_discovery_port=heads.port
    )
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig"), "NO_COLOR": "1"}
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [PROGRAM, *words], stdout=said, stderr=subprocess.STDOUT, env=environment
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            eventually(lambda: status(f"{url}/readiness") == 200, PATIENCE, log.read_text)
            yield url
        finally:
            process.kill()


def test_heads_share_evenly_and_a_lost_one_costs_nothing(api: StubApi, heads: Heads, router: str) -> None:
    clients = Clients([router], WEIGHTS, tokens=1)
    clients.start()
    try:
        eventually(lambda: min(heads.counts((0, 1, 2))) > 0, PATIENCE)
        assert spread(heads.share((0, 1, 2), REQUESTS)) <= EVEN
        heads.kill(1)
        assert spread(heads.share((0, 2), REQUESTS)) <= EVEN
        # /health would say 503 now, of all replicas.
        assert status(f"{router}/readiness") == 200
        heads.start(1)
        eventually(lambda: heads.answered(1), PATIENCE)
        assert spread(heads.share((0, 1, 2), REQUESTS)) <= EVEN
        # On its way out it gets nothing more, although it still answers.
        api.put(pod(0, deletionTimestamp="2026-01-01T00:00:00Z"))
        eventually(lambda: heads.share((0, 1, 2), 100)[0] == 0, PATIENCE)
    finally:
        clients.end()
    assert not clients.tally.lost
    assert clients.tally.cut <= sum(WEIGHTS)

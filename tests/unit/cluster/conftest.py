"""A stand-in for the Kubernetes API, and a login to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unit.cluster.kubeconfigs import write_kubeconfig
from unit.cluster.stub_api import StubApi, serving
from vllm_multinode.cluster import patience as patience_module
from vllm_multinode.cluster import wait as waiting_module
from vllm_multinode.cluster.client import Cluster


@pytest.fixture
def api() -> Iterator[StubApi]:
    """An API server with the namespace demo."""
    with serving() as api:
        api.namespace("demo")
        yield api


@pytest.fixture
def kubeconfig(api: StubApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubeconfig for it, as KUBECONFIG."""
    path = write_kubeconfig(tmp_path / "kubeconfig", api.url)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def cluster(kubeconfig: Path) -> Iterator[Cluster]:
    """Logged in."""
    with Cluster.connect() as cluster:
        yield cluster


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the heads often, and let no trouble last."""
    monkeypatch.setattr(waiting_module, "_TICK", 0.05)
    monkeypatch.setattr(waiting_module, "TAKEN_UP", 0.4)
    used_up = patience_module.Patience.used_up

    def sooner(self: Any, troubles: Any, now: float) -> Any:
        return used_up(self, troubles, now * 500)

    monkeypatch.setattr(patience_module.Patience, "used_up", sooner)

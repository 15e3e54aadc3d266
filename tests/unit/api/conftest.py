"""The stand-in for the Kubernetes API, empty or with KServe 0.19.0 in it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.cluster.conftest import api, cluster, kubeconfig
from unit.cluster.kubeconfigs import write_kubeconfig
from unit.cluster.objects import controller, head_says, running, with_status
from unit.cluster.stub_api import StubApi, serving

__all__ = ["api", "cluster", "kubeconfig"]


class Controller(threading.Thread):
    """Lets every service that is created serve, as KServe and its pods would."""

    def __init__(self, api: StubApi) -> None:
        super().__init__(daemon=True)
        self._api = api
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            for (plural, namespace, name), body in list(self._api.objects.items()):
                if plural == "inferenceservices" and "status" not in body:
                    self._api.put(with_status(body, ready="True", url=f"http://{name}.example.com"))
                    text = json.dumps(running(f"{name}-predictor-0")).replace("llm", name)
                    pod = json.loads(text)
                    pod["metadata"]["namespace"] = namespace
                    self._api.put(pod)
                    self._api.heads[f"{name}-predictor-0:8081"] = head_says()


@pytest.fixture
def idle_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubApi]:
    """The stand-in, with a kubeconfig for it; nothing makes its services serve."""
    with serving() as api:
        api.namespace("models")
        api.put(controller())
        path = write_kubeconfig(tmp_path / "kubeconfig", api.url, namespace="models")
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield api


@pytest.fixture
def kserve_api(idle_api: StubApi) -> Iterator[StubApi]:
    """The same; every service that is created comes to serve."""
    acting = Controller(idle_api)
    acting.start()
    yield idle_api
    acting.ended.set()
    acting.join(timeout=60)

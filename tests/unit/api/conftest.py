"""The stand-in for the Kubernetes API, empty or with KServe 0.19.0 in it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from unit.cluster.conftest import api, cluster, kubeconfig
from unit.cluster.objects import head_says, running, with_status
from unit.cluster.stub_api import StubApi, serving

__all__ = ["api", "cluster", "kubeconfig"]

CONTROLLER = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "kserve-controller-manager",
        "namespace": "kserve",
        "labels": {"control-plane": "kserve-controller-manager"},
    },
    "spec": {
        "template": {"spec": {"containers": [{"name": "manager", "image": "kserve-controller:v0.19.0"}]}}
    },
}


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
        api.put(CONTROLLER)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": api.url}}],
            "users": [{"name": "ada", "user": {"token": "the-token-of-ada"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "ada", "namespace": "models"}}],
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield api


@pytest.fixture
def kserve_api(idle_api: StubApi) -> Iterator[StubApi]:
    """The same; every service that is created comes to serve."""
    controller = Controller(idle_api)
    controller.start()
    yield idle_api
    controller.ended.set()
    controller.join(timeout=60)

"""The small kubelet, with Pods that serve files instead of a model."""

import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubelet.kubelet import Kubelet, kubelet
from controlplane.plane.kubectl import Kubectl
from controlplane.plane.running import Plane
from engine.services import eventually
from vllm_multinode.contract import ports
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

Body = dict[str, Any]
LABELS = {"app": "files"}
# Says on which address it may be reached, who it is, and what the headless Service resolves to.
PROGRAM = """
import os, signal, socket, sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/peers":
            text = " ".join(sorted(socket.gethostbyname_ex("peers")[2]))
        elif self.path == "/who":
            text = f"{os.environ['POD_IP']} {os.environ['GREETING']} {os.environ['LABEL']}"
        else:
            return super().do_GET()
        self.send_response(200); self.end_headers(); self.wfile.write(text.encode())
os.chdir("/data")
ThreadingHTTPServer(("", 8081), Handler).serve_forever()
"""


def deployment(replicas: int, **container: Any) -> Body:
    """Pods that are ready while the claim has a file `ready`, and alive while it has `alive`."""
    probe = {"periodSeconds": 1, "failureThreshold": 2}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "files"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "terminationGracePeriodSeconds": 10,
                    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
                    "containers": [
                        {
                            "name": "files",
                            "image": "example.com/files:1",
                            "command": ["python", "-c", PROGRAM],
                            "env": [
                                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                                {"name": "NAME", "value": "you"},
                                {"name": "GREETING", "value": "hello-$(NAME)-$(NOBODY)-$$(NAME)"},
                                {
                                    "name": "LABEL",
                                    "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}},
                                },
                            ],
                            "volumeMounts": [
                                {"name": "data", "mountPath": "/data", "subPath": "files", "readOnly": True}
                            ],
                            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8081}, **probe},
                            "livenessProbe": {"httpGet": {"path": "/alive", "port": 8081}, **probe},
                            **container,
                        }
                    ],
                },
            },
        },
    }


SERVICE: Body = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "peers"},
    "spec": {"clusterIP": "None", "selector": LABELS},
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The claim's folder that the Pods serve."""
    folder = tmp_path / "claim" / "files"
    folder.mkdir(parents=True)
    for name in ("ready", "alive"):
        (folder / name).touch()
    return folder


@pytest.fixture
def nodes(
    plane: Plane, namespace: str, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kubelet]:
    """Three nodes; skips where this machine allows no namespaces."""
    image = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    claims = {"data": data.parent}
    folder = tmp_path_factory.mktemp("k")
    try:
        with kubelet(
            plane.kubeconfig, namespace, nodes=3, claims=claims, image=image, folder=folder
        ) as found:
            yield found
    except MultinodeError as error:
        if error.code is ExitCode.NAMESPACES:
            pytest.skip(str(error))
        raise


def pods(kubectl: Kubectl, nodes: Kubelet, ready: int) -> list[Body]:
    """All Pods, once there are as many and they are all ready."""

    def found() -> list[Body]:
        nodes.check()
        listed = kubectl.list("pods", "app=files")
        return listed if len(listed) == ready == sum(map(is_ready, listed)) else []

    return eventually(found, why=lambda: kubectl("get", "pods", "-o", "yaml"))


def is_ready(pod: Body) -> bool:
    return bool(pod.get("status", {}).get("containerStatuses", [{}])[0].get("ready"))


def get(nodes: Kubelet, pod: Body, path: str) -> str | None:
    """What the Pod answers, or None where it does not, as while it cannot resolve a name yet."""
    try:
        with urllib.request.urlopen(nodes.url(pod["metadata"]["name"], ports.SUPERVISOR) + path) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def finds(nodes: Kubelet, pod: Body, peers: str) -> bool:
    return get(nodes, pod, "/peers") == peers


def test_pods_run_and_find_each_other(kubectl: Kubectl, nodes: Kubelet) -> None:
    kubectl.apply(deployment(2), SERVICE)
    found = pods(kubectl, nodes, 2)
    addresses = sorted(pod["status"]["podIP"] for pod in found)
    assert len(set(addresses)) == 2
    for pod in found:
        eventually(partial(finds, nodes, pod, " ".join(addresses)))
        said = get(nodes, pod, "/who")
        assert said == f"{pod['status']['podIP']} hello-you-$(NOBODY)-$(NAME) files"
    assert kubectl.get("deployment", "files")["status"]["readyReplicas"] == 2


def test_a_deleted_pod_is_replaced_by_another_at_another_address(kubectl: Kubectl, nodes: Kubelet) -> None:
    kubectl.apply(deployment(1))
    [old] = pods(kubectl, nodes, 1)
    kubectl("delete", "pod", old["metadata"]["name"])
    [new] = pods(kubectl, nodes, 1)
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert new["status"]["podIP"] != old["status"]["podIP"]
    assert new["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_pod_that_is_not_ready_stays_and_one_that_is_not_alive_is_restarted(
    kubectl: Kubectl, nodes: Kubelet, data: Path
) -> None:
    kubectl.apply(deployment(1), SERVICE)
    [pod] = pods(kubectl, nodes, 1)
    name = pod["metadata"]["name"]
    (data / "ready").unlink()
    eventually(lambda: not is_ready(kubectl.get("pod", name)))
    assert get(nodes, pod, "/alive") == ""
    (data / "ready").touch()
    (data / "alive").unlink()
    restarted = eventually(lambda: kubectl.get("pod", name)["status"]["containerStatuses"][0]["restartCount"])
    (data / "alive").touch()
    [again] = pods(kubectl, nodes, 1)
    assert restarted >= 1
    assert again["metadata"]["uid"] == pod["metadata"]["uid"]
    assert again["status"]["podIP"] == pod["status"]["podIP"]


def test_one_that_ends_says_why_and_is_started_again(kubectl: Kubectl, nodes: Kubelet) -> None:
    script = "open('/dev/termination-log', 'w').write('no such model'); raise SystemExit(7)"
    kubectl.apply(deployment(1, command=["python", "-c", script]))

    def ended() -> Body:
        nodes.check()
        for pod in kubectl.list("pods", "app=files"):
            state = pod.get("status", {}).get("containerStatuses", [{}])[0]
            if state.get("restartCount") and (last := state["lastState"].get("terminated")):
                return dict(last)
        return {}

    last = eventually(ended)
    assert (last["exitCode"], last["message"]) == (7, "no such model")


def test_pods_without_a_free_node_wait(kubectl: Kubectl, nodes: Kubelet) -> None:
    kubectl.apply(deployment(4))
    eventually(lambda: sum(map(is_ready, kubectl.list("pods", "app=files"))) == 3)
    [waiting] = [pod for pod in kubectl.list("pods", "app=files") if not is_ready(pod)]
    assert "nodeName" not in waiting["spec"]
    kubectl("scale", "deployment", "files", "--replicas=3")
    pods(kubectl, nodes, 3)

"""What the tests of deploy and wait write in the place of users, kubelets and supervisors."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from controlplane.plane.kubectl import Kubectl
from controlplane.plane.running import Plane

Object = dict[str, Any]
MODE = "serving.kserve.io/deploymentMode"
AUTOSCALER = "serving.kserve.io/autoscalerClass"


def container(name: str, role: str, port: int) -> Object:
    return {
        "name": name,
        "image": "example.com/vllm-multinode:1",
        "command": ["multinode", role],
        "env": [{"name": "MULTINODE_SUPERVISOR_PORT", "value": str(port)}],
        "resources": {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": port}},
    }


def runtime(port: int = 8081) -> Object:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "over-nodes"},
        "spec": {
            "supportedModelFormats": [{"name": "vLLM", "version": "1", "autoSelect": False}],
            "containers": [container("kserve-container", "head", port)],
            "workerSpec": {
                "pipelineParallelSize": 2,
                "tensorParallelSize": 1,
                "containers": [container("worker-container", "worker", port)],
            },
        },
    }


def service(plane: Plane, **predictor: Any) -> Object:
    mode = "RawDeployment" if plane.kserve < "v0.16" else "Standard"
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "llm", "annotations": {MODE: mode, AUTOSCALER: "none"}},
        "spec": {
            "predictor": {
                "deploymentStrategy": {"type": "Recreate"},
                "model": {
                    "modelFormat": {"name": "vLLM"},
                    "runtime": "over-nodes",
                    "storageUri": "pvc://models/llm",
                },
                "workerSpec": {"pipelineParallelSize": 2, "tensorParallelSize": 1},
                **predictor,
            }
        },
    }


def leader_worker_set(port: int) -> Object:
    one = container("vllm", "head", port)
    one["env"] += [
        {"name": "TENSOR_PARALLEL_SIZE", "value": "1"},
        {"name": "PIPELINE_PARALLEL_SIZE", "value": "2"},
    ]
    template = {"spec": {"containers": [one]}}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "llm"},
        "spec": {
            "replicas": 1,
            "leaderWorkerTemplate": {"size": 2, "leaderTemplate": template, "workerTemplate": template},
        },
    }


def write_status(kubectl: Kubectl, pod: Object, status: Object) -> None:
    """As a kubelet does."""
    name = pod["metadata"]["name"]
    patch = json.dumps({"status": status})
    kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)


def run_pods(kubectl: Kubectl, address: str) -> list[Object]:
    """Let every pod run and be ready at an address."""
    now = "2026-01-01T00:00:00Z"
    found = kubectl.list("pods")
    for pod in found:
        conditions = [
            {"type": kind, "status": "True"} for kind in ("PodScheduled", "Ready", "ContainersReady")
        ]
        states = [
            {
                "name": one["name"],
                "image": one["image"],
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for one in pod["spec"]["containers"]
        ]
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": now}
        write_status(kubectl, pod, {**status, "conditions": conditions, "containerStatuses": states})
    return found


class Supervisor:
    """What a head's supervisor answers."""

    def __init__(self, address: str) -> None:
        self.said: Object = {"state": "starting", "reason": "epoch 1", "nodes": 2, "members": []}
        self.address = address
        self.asked = threading.Event()
        supervisor = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(supervisor.said).encode()
                supervisor.asked.set()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.port = self.server.server_port


@contextmanager
def supervisor() -> Iterator[Supervisor]:
    """On an address of this machine that is not the loopback, which API servers do not proxy to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the kernel only picks the address that it would send from.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but the loopback")
        address = probe.getsockname()[0]
    found = Supervisor(address)
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()
        thread.join()


def members(kubectl: Kubectl, state: str) -> Object:
    """A head's status with every pod in it."""
    names = [one["metadata"]["name"] for one in kubectl.list("pods")]
    listed = [{"name": name, "rank": rank, "state": state} for rank, name in enumerate(names)]
    return {"state": state, "reason": "", "nodes": 2, "members": listed}

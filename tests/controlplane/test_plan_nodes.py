"""`multinode plan --from-cluster` against a real API server, with nodes and pods that the test makes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.plane.kubectl import Kubectl
from controlplane.plane.running import Plane
from vllm_multinode.cli.app import run

LABELS = {
    "h100": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"},
    "mi300x": {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "191G"},
}
# name, labels, resource, taint
NODES = (
    ("plan-h100-a", "h100", "nvidia.com/gpu", None),
    ("plan-h100-b", "h100", "nvidia.com/gpu", {"key": "nvidia.com/gpu", "effect": "NoSchedule"}),
    ("plan-h100-c", "h100", "nvidia.com/gpu", {"key": "team", "value": "other", "effect": "NoSchedule"}),
    ("plan-mi300x", "mi300x", "amd.com/gpu", None),
)
ASKED = ["plan", "deepseek-r1-0528", "--from-cluster", "--context", "8192", "-o"]


def _node(kubectl: Kubectl, name: str, kind: str, resource: str, taint: dict[str, str] | None) -> None:
    kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": LABELS[kind]}})
    amounts = {"cpu": "96", "memory": "1000Gi", "pods": "110", resource: "8"}
    status = {
        "allocatable": amounts,
        "capacity": amounts,
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    patch = json.dumps({"status": status})
    kubectl("patch", "node", name, "--subresource=status", "--type=strategic", "-p", patch)
    # The API server marks every new node as not ready; a kubelet would have that removed.
    taints = json.dumps([{"op": "replace", "path": "/spec/taints", "value": [taint] if taint else []}])
    kubectl("patch", "node", name, "--type=json", "-p", taints)


@pytest.fixture
def nodes(plane: Plane, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    for node in NODES:
        _node(kubectl, *node)
    yield
    kubectl("delete", "node", *(name for name, *_ in NODES), "--wait=false")


def _planned(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*ASKED, "json", *more]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("nodes")
def test_what_is_free_is_planned_with(kubectl: Kubectl, capsys: pytest.CaptureFixture[str]) -> None:
    found = _planned(capsys)
    assert (found["gpu"], found["nodes"], found["tensor_parallel"]) == ("MI300X", 1, 4)
    (h100,) = found["other_gpus"]
    assert (h100["gpu"], h100["nodes"], h100["pipeline_parallel"]) == ("H100-SXM-80GB", 2, 2)
    assert any("--tolerate team" in reason for reason in h100["reasons"])
    _take(kubectl, "plan-mi300x", "amd.com/gpu", 6)
    again = _planned(capsys, "--tolerate", "team")
    assert (again["gpu"], again["nodes"]) == ("H100-SXM-80GB", 2)
    assert any("3 of 3 nodes with H100-SXM-80GB" in reason for reason in again["reasons"])


@pytest.mark.usefixtures("nodes")
def test_a_login_without_rights_is_one_line(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(plane.guest))
    assert run([*ASKED, "json"]) == 72
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "list nodes" in said.err


def _take(kubectl: Kubectl, node: str, resource: str, count: int) -> None:
    limits = {resource: str(count)}
    container = {"name": "c", "image": "registry.example/busy", "resources": {"limits": limits}}
    spec = {"nodeName": node, "automountServiceAccountToken": False, "containers": [container]}
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "busy"}, "spec": spec})

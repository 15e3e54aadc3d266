"""Nodes and pods as a Kubernetes API gives them -> accelerators of a kind, what is free, what is left out."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from unit.cluster.stub_api import StubApi, status
from vllm_multinode.authoring.spec import NodePool, loads
from vllm_multinode.cli.app import run
from vllm_multinode.cluster.nodes import GpuNode, node_of, requested
from vllm_multinode.cluster.offers import offers
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}
SIDECAR = {"restartPolicy": "Always", "resources": {"limits": {"nvidia.com/gpu": 2}}}
MI300X = {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "191G"}


def node(
    name: str,
    gpus: int = 8,
    labels: dict[str, str] | None = None,
    resource: str = "nvidia.com/gpu",
    **spec: Any,
) -> dict[str, Any]:
    amounts = {"cpu": "96", "memory": "1031684Ki", resource: str(gpus)}
    ready = {"type": "Ready", "status": spec.pop("ready", "True")}
    return {
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, **(H100 if labels is None else labels)},
        },
        "spec": spec,
        "status": {"allocatable": amounts, "capacity": amounts, "conditions": [ready]},
    }


def pod(where: str, gpus: int | str, phase: str = "Running", **spec: Any) -> dict[str, Any]:
    asked = {"resources": {"limits": {"nvidia.com/gpu": gpus}}}
    return {
        "metadata": {"name": "p", "namespace": "x"},
        "spec": {"nodeName": where, "containers": [asked], **spec},
        "status": {"phase": phase},
    }


def read(body: dict[str, Any], *pods: dict[str, Any], tolerated: frozenset[str] = frozenset()) -> GpuNode:
    found = node_of(body, requested(pods), tolerated)
    assert found is not None
    return found


def taint(key: str, effect: str = "NoSchedule") -> dict[str, Any]:
    return {"taints": [{"key": key, "effect": effect}]}


@pytest.mark.parametrize(
    ("pods", "free"),
    [
        pytest.param([], 8, id="empty"),
        pytest.param([pod("n", 2), pod("n", "3")], 3, id="two-pods"),
        pytest.param([pod("other", 8)], 8, id="another-node"),
        pytest.param([pod("n", 8, "Succeeded"), pod("n", 8, "Failed")], 8, id="ended"),
        pytest.param([pod("n", 1, "Pending")], 7, id="starting"),
        pytest.param([pod("n", 8), pod("n", 8)], 0, id="more-than-there-are"),
        pytest.param(
            [pod("n", 1, initContainers=[{"resources": {"requests": {"nvidia.com/gpu": "4"}}}])], 4, id="init"
        ),
        pytest.param([pod("n", 1, initContainers=[SIDECAR])], 5, id="sidecar"),
    ],
)  # fmt: skip
def test_what_is_free(pods: list[dict[str, Any]], free: int) -> None:
    assert read(node("n"), *pods).free == free


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(node("n", unschedulable=True), "cordoned", id="cordoned"),
        pytest.param(node("n", ready="Unknown"), "not ready", id="not-ready"),
        pytest.param(node("n", **taint("team")), "its taint team:NoSchedule", id="another-team"),
        pytest.param(
            node("n", **taint("node-role.kubernetes.io/control-plane")), "control-plane", id="control-plane"
        ),
        pytest.param(node("n", **taint("node.kubernetes.io/disk-pressure")), "disk-pressure", id="pressure"),
        pytest.param(
            node("n", labels={**H100, "nvidia.com/gpu.replicas": "4"}), "shared 4 ways", id="shared"
        ),
        pytest.param(
            node("n", labels={"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"}), "MIG", id="mig"
        ),
        pytest.param(node("n", **taint("nvidia.com/gpu")), "", id="gpu-taint"),
        pytest.param(node("n", **taint("team", "PreferNoSchedule")), "", id="preference"),
    ],
)
def test_what_is_left_out(body: dict[str, Any], why: str) -> None:
    found = read(body)
    assert (why in found.closed) if why else not found.closed
    assert found.free == (0 if why else 8)


def test_a_taint_that_is_tolerated_is_handed_on() -> None:
    found = read(node("n", **taint("team")), tolerated=frozenset({"team"}))
    assert found.free == 8
    assert offers([found])[0].taints == (("team", "", "NoSchedule"),)


@pytest.mark.parametrize(
    ("body", "name", "gib"),
    [
        pytest.param(node("n"), "H100-SXM-80GB", 79.18, id="nvidia"),
        pytest.param(node("n", labels=MI300X, resource="amd.com/gpu"), "MI300X", 191, id="amd"),
        pytest.param(
            node("n", labels={"node.kubernetes.io/instance-type": "p5.48xlarge"}), "H100-SXM-80GB", 79.18,
            id="instance-type",
        ),
        pytest.param(
            node("n", labels={"nvidia.com/gpu.product": "NVIDIA-Z9", "nvidia.com/gpu.memory": "102400"}),
            "NVIDIA-Z9", 100, id="unknown-product",
        ),
    ],
)  # fmt: skip
def test_what_it_is(body: dict[str, Any], name: str, gib: float) -> None:
    (offer,) = offers([read(body)])
    assert offer.gpu.name == name
    assert offer.gpu.memory_gib == pytest.approx(gib, abs=0.1)


def test_kinds_stay_apart_and_the_most_free_come_first() -> None:
    nodes = [
        read(node("a"), pod("a", 4)),
        read(node("b")),
        read(node("c", labels=MI300X, resource="amd.com/gpu")),
        read(node("d", unschedulable=True)),
        read(node("e", labels={})),
    ]
    first, second = offers(nodes)
    assert (first.gpu.name, first.node_gpus, first.product) == (
        "H100-SXM-80GB", (8, 4), "NVIDIA-H100-80GB-HBM3",
    )  # fmt: skip
    assert (second.gpu.name, second.node_gpus) == ("MI300X", (8,))
    assert any("Left out: d, because it is cordoned" in note for note in first.notes)
    assert any("Left out: e, which no label says the type of" in note for note in first.notes)


def test_gpu_names_what_no_label_does() -> None:
    (offer,) = offers([read(node("e", labels={}))], "L40S")
    assert (offer.gpu.name, offer.node_gpus, offer.product) == ("L40S", (8,), "")


@pytest.mark.parametrize(
    ("nodes", "named", "says"),
    [
        pytest.param([], "", "no node of the cluster has accelerators", id="none"),
        pytest.param([node("n", unschedulable=True)], "", "cordoned", id="all-closed"),
        pytest.param([node("n", labels={})], "", "--gpu names it", id="unknown"),
        pytest.param([node("n")], "L4", "no node of the cluster has L4", id="another-kind"),
    ],
)
def test_nothing_to_plan_with(nodes: list[dict[str, Any]], named: str, says: str) -> None:
    with pytest.raises(MultinodeError, match=says) as caught:
        offers([read(body) for body in nodes], named)
    assert caught.value.code is ExitCode.DOES_NOT_FIT


def fill(api: StubApi, nodes: Iterable[dict[str, Any]], pods: Iterable[dict[str, Any]] = ()) -> None:
    for body in nodes:
        api.put({"apiVersion": "v1", "kind": "Node", **body})
    for number, body in enumerate(pods):
        metadata = {**body["metadata"], "name": f"p{number}"}
        api.put({"apiVersion": "v1", "kind": "Pod", **body, "metadata": metadata})


ASKED = ["plan", "llama-3.3-70b-instruct", "--from-cluster", "--context", "8192", "-o", "json"]


@pytest.mark.usefixtures("kubeconfig")
def test_a_plan_for_what_is_free(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    busy = [node(f"h{number}", **taint("nvidia.com/gpu")) for number in range(3)]
    cpu = {"metadata": {"name": "cpu"}, "spec": {}, "status": {"allocatable": {"cpu": "4"}}}
    fill(
        api,
        [*busy, node("m", labels=MI300X, resource="amd.com/gpu"), cpu],
        [pod("h0", 8), pod("h1", 6), pod("h2", 8)],
    )
    assert run(ASKED) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["gpu"], found["tensor_parallel"], found["nodes"]) == ("MI300X", 1, 1)
    (other,) = found["other_gpus"]
    assert (other["gpu"], other["tensor_parallel"], other["total_gpus"]) == ("H100-SXM-80GB", 2, 2)
    assert any("1 of 3 nodes with H100-SXM-80GB" in reason for reason in other["reasons"])


@pytest.mark.usefixtures("kubeconfig")
def test_the_spec_goes_where_the_plan_was_made_for(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    fill(api, [node("a", **taint("nvidia.com/gpu"))])
    assert run([*ASKED[:-1], "spec"]) == 0
    spec = loads(capsys.readouterr().out)
    assert spec.accelerator.product == "NVIDIA-H100-80GB-HBM3"
    assert [one.key for one in spec.placement.tolerations or ()] == ["nvidia.com/gpu"]


@pytest.mark.usefixtures("kubeconfig")
def test_a_login_that_may_not_list_pods_is_told_what_that_means(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(api, [node("a")])
    api.refuse("GET", "/api/v1/pods", 403, status(403, "pods is forbidden", "Forbidden"))
    assert run(ASKED) == 0
    assert "may not list the pods" in capsys.readouterr().out


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    ("answered", "code"),
    [pytest.param(401, 71, id="login-expired"), pytest.param(403, 72, id="forbidden")],
)
def test_what_the_api_refuses_is_one_line(
    api: StubApi, answered: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    api.refuse("GET", "/api/v1/nodes", answered, status(answered, "no"))
    assert run(ASKED) == code
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_no_kubeconfig(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert run(ASKED) == ExitCode.CLUSTER_UNREACHABLE
    assert capsys.readouterr().err.count("\n") == 1


POOL = ["--selector", "pool=a"]


def pooled(name: str, pool: str = "a") -> dict[str, Any]:
    body = node(name)
    return {**body, "metadata": {**body["metadata"], "labels": {**body["metadata"]["labels"], "pool": pool}}}


@pytest.mark.usefixtures("kubeconfig")
def test_the_nodes_of_a_pool(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Two nodes of three with one free GPU each: of the pool alone, and no more of it than was asked for."""
    names = [pooled("a0"), pooled("a1"), pooled("a2"), pooled("b", "b")]
    fill(api, names, [pod(name, 7) for name in ("a0", "a1", "a2")])
    assert run([*ASKED, "--executor", "ray", *POOL]) == 0
    assert json.loads(capsys.readouterr().out)["total_gpus"] <= 3
    assert run([*ASKED, "--executor", "ray", *POOL, "--nodes", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["nodes"], found["gpus_per_node"]) == (2, 1)
    assert run([*ASKED, "--nodes", "1", *POOL]) == ExitCode.DOES_NOT_FIT


@pytest.mark.usefixtures("kubeconfig")
def test_the_spec_names_the_pool(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    fill(api, [pooled("a"), node("b")])
    assert run([*ASKED[:-1], "spec", *POOL]) == 0
    assert loads(capsys.readouterr().out).placement.pool == NodePool(labels={"pool": "a"})


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        pytest.param("pool=c", ExitCode.DOES_NOT_FIT, "None of the cluster's 1 nodes", id="no-such-pool"),
        pytest.param("pool", ExitCode.USAGE, "KEY=VALUE", id="no-value"),
        pytest.param("pool!=a", ExitCode.USAGE, "KEY=VALUE", id="not-equal"),
        pytest.param("pool in (a,b)", ExitCode.USAGE, "KEY=VALUE", id="set"),
        pytest.param("pool=a,pool=b", ExitCode.USAGE, "two values", id="twice"),
    ],
)
def test_a_selector_that_cannot_be(
    api: StubApi, given: str, code: ExitCode, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(api, [node("a")])
    assert run([*ASKED, "-l", given]) == code
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") <= 2


def test_counting_and_being_told_contradict(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ASKED, "--gpus-per-node", "2"]) == ExitCode.USAGE
    assert "--gpus-per-node" in capsys.readouterr().err


def test_a_selector_wants_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "llama-3.3-70b-instruct", "--gpu", "H100", *POOL]) == ExitCode.USAGE
    assert "--from-cluster" in capsys.readouterr().err

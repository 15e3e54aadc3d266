"""RDMA that nodes lack is found before anything is written."""

from typing import Any

import pytest

from unit.cluster.stub_api import StubApi, status
from vllm_multinode.authoring.render import Target, render
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cluster import devices
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

RDMA = "rdma/hca"
BOTH = pytest.mark.parametrize("target", ["kserve", "lws"])


def bodies(target: Target = "kserve", rdma: bool = True, **more: Any) -> list[dict[str, Any]]:
    spec = {
        "name": "llm",
        "model": {"claim": "models"},
        "parallelism": {"tensor": 8, "pipeline": 3},
        "network": {"rdma": {"resource": RDMA, "count": 2}} if rdma else {},
        "placement": {"nodeSelector": {"pool": "a"}},
        **more,
    }
    return render(DeploymentSpec.model_validate(spec), target=target).documents


def node(api: StubApi, name: str, *, rdma: str = "0", gpus: str = "8", pool: str = "a") -> None:
    api.put(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"pool": pool}},
            "status": {"allocatable": {"cpu": "96", "nvidia.com/gpu": gpus, RDMA: rdma}},
        }
    )


def refusal(cluster: Cluster, given: list[dict[str, Any]]) -> str:
    with pytest.raises(MultinodeError) as caught:
        devices.check(cluster, given)
    assert caught.value.code == ExitCode.MISSING
    return str(caught.value)


@BOTH
def test_nodes_without_it(api: StubApi, cluster: Cluster, target: Target) -> None:
    for name in "abc":
        node(api, name)
    said = refusal(cluster, bodies(target))
    assert "3 pods ask for 2 of rdma/hca each, and 0 of the 3 nodes with nvidia.com/gpu" in said
    assert "a does not" in said


@BOTH
@pytest.mark.parametrize(
    ("amounts", "able"),
    [pytest.param("220", 2, id="one-too-few"), pytest.param("221", 2, id="too-few-of-it")],
)
def test_too_few_nodes_with_it(
    api: StubApi, cluster: Cluster, target: Target, amounts: str, able: int
) -> None:
    for name, amount in zip("abc", amounts, strict=True):
        node(api, name, rdma=amount)
    assert f"{able} of the 3 nodes" in refusal(cluster, bodies(target))


def test_nodes_of_another_pool_do_not_help(api: StubApi, cluster: Cluster) -> None:
    for name in "abc":
        node(api, name)
    for name in "def":
        node(api, name, rdma="2", pool="b")
    assert "0 of the 3 nodes" in refusal(cluster, bodies())


@BOTH
def test_enough_nodes_with_it(api: StubApi, cluster: Cluster, target: Target) -> None:
    for name in "abc":
        node(api, name, rdma="2")
    node(api, "d")
    devices.check(cluster, bodies(target))


def test_nodes_that_are_yet_to_come(api: StubApi, cluster: Cluster) -> None:
    """An autoscaler adds nodes: none is there, or one that has what is asked for."""
    node(api, "cpu", gpus="0")
    devices.check(cluster, bodies())
    node(api, "a", rdma="2")
    devices.check(cluster, bodies())


def test_without_rdma_nobody_asks(api: StubApi, cluster: Cluster) -> None:
    api.refuse("GET", "/api/v1/nodes", 500, status(500, "never asked"))
    devices.check(cluster, bodies(rdma=False))


def test_who_may_not_list_nodes_is_not_stopped(api: StubApi, cluster: Cluster) -> None:
    api.refuse("GET", "/api/v1/nodes", 403, status(403, "nodes is forbidden", "Forbidden"))
    devices.check(cluster, bodies())

"""A spec's node pool, held against the nodes that a cluster has."""

import pytest

from unit.cluster.stub_api import StubApi
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cluster import pools
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


@pytest.fixture(autouse=True)
def nodes(api: StubApi) -> None:
    """Three, two of them in the pool a."""
    for name, pool in (("n1", "a"), ("n2", "a"), ("n3", "b")):
        api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"pool": pool}}})


def spec(nodes: int | None, *, pipeline: int = 2, pool: str = "a") -> DeploymentSpec:
    body = {
        "name": "llm",
        "model": {"claim": "m"},
        "parallelism": {"pipeline": pipeline},
        "placement": {"pool": {"labels": {"pool": pool}, "nodes": nodes}},
    }
    return DeploymentSpec.model_validate(body)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        pytest.param(spec(2), "", id="all-there"),
        pytest.param(spec(None), "", id="any-number"),
        pytest.param(
            spec(4), "The pool is declared with 4 nodes, but 2 of the cluster's 3 nodes", id="lacks"
        ),
        pytest.param(spec(None, pipeline=3), "the pods wait until there are 3", id="may-come"),
        pytest.param(spec(None, pool="c"), "0 of the cluster's 3 nodes have the labels pool=c", id="none"),
    ],
)
def test_what_is_told(cluster: Cluster, wanted: DeploymentSpec, told: str) -> None:
    sentence = pools.check(cluster, wanted)
    assert told in sentence
    assert bool(sentence) is bool(told)


def test_a_pool_with_too_few_nodes_is_refused(cluster: Cluster) -> None:
    with pytest.raises(MultinodeError, match="takes 3 nodes, and 2 of the cluster's 3 nodes") as refused:
        pools.check(cluster, spec(4, pipeline=3))
    assert refused.value.code is ExitCode.MISSING
    assert "placement.pool.nodes" in refused.value.hint

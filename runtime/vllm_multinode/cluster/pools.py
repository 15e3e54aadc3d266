"""The node pool that a spec names, held against the nodes that the cluster has."""

from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.nodes import NODES, has_labels
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


def check(cluster: Cluster, spec: DeploymentSpec) -> str:
    """Refuse a pool that has fewer nodes than the service takes; what is to be told of one that lacks some.

    Where `placement.pool.nodes` is left out, nodes may still come: that none is there is only told.

    Args:
        cluster: where.
        spec: what is deployed.

    Returns:
        A sentence; empty where there is nothing to tell.

    Raises:
        MultinodeError: MISSING.
    """
    pool = spec.placement.pool
    if pool is None:
        return ""
    try:
        nodes, _ = cluster.list(NODES)
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        # Not everybody may list nodes; the scheduler will say it.
        return ""
    there = sum(has_labels(node, pool.labels) for node in nodes)
    wanted = spec.nodes * spec.replicas
    labels = ", ".join(f"{key}={value}" for key, value in pool.labels.items())
    has = f"{there} of the cluster's {len(nodes)} nodes {'has' if there == 1 else 'have'} the labels {labels}"
    if pool.nodes is not None and there < wanted:
        raise MultinodeError(
            ExitCode.MISSING,
            f"the service takes {wanted} nodes, and {has}. Nothing was written.",
            where="placement.pool",
            hint="Use other labels, or omit placement.pool.nodes if nodes are added on demand.",
        )
    if pool.nodes is not None and there < pool.nodes:
        return f"The pool is declared with {pool.nodes} nodes, but {has}."
    return f"{has[0].upper()}{has[1:]}: the pods wait until there are {wanted}." if there < wanted else ""

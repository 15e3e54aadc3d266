"""One module an executor: settings in, argument vectors and environments out. Pure."""

from vllm_multinode.launcher.engines import mp, ray
from vllm_multinode.launcher.plan import GroupPlan, Node, Process


def build(plan: GroupPlan, node: Node) -> tuple[Process, ...]:
    """The processes of one node, in the order of their start."""
    if plan.executor == "ray":
        return ray.processes(plan, node)
    return mp.processes(plan, node)

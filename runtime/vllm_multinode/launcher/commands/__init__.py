"""The commands of an engine's processes: a plan in, argument vectors and environments out; pure."""

from collections.abc import Callable, Mapping
from typing import Final

from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.launcher.commands import mp, ray
from vllm_multinode.launcher.plan import GroupPlan, Node, Process

_PROCESSES: Final[Mapping[ExecutorName, Callable[[GroupPlan, Node], tuple[Process, ...]]]] = {
    "ray": ray.processes,
    "mp": mp.processes,
}


def build(plan: GroupPlan, node: Node) -> tuple[Process, ...]:
    """The processes of one node, in the order of their start."""
    return _PROCESSES[plan.executor](plan, node)

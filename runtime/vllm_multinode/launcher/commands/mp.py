"""vLLM's own multi-node executor: the same command on every node, told apart by its rank."""

from vllm_multinode.launcher.commands.common import (
    api_environment,
    head_arguments,
    node_defaults,
    serve_command,
    user_arguments,
)
from vllm_multinode.launcher.plan import GroupPlan, Node, Process


def processes(plan: GroupPlan, node: Node) -> tuple[Process, ...]:
    """The one process of a node; rank 0 serves the API, the others are headless."""
    argv = serve_command(plan, node)
    if plan.sizes.nodes > 1:
        argv += ["--nnodes", str(plan.sizes.nodes), "--node-rank", str(node.rank)]
        argv += ["--master-addr", plan.head_address, "--master-port", str(plan.ports.master)]
    argv += head_arguments(plan, node) if node.rank == 0 else ["--headless"]
    argv += user_arguments(plan, node)
    environment = api_environment(node)
    return (
        Process(
            name="vllm",
            argv=tuple(argv),
            environment=environment,
            defaults=node_defaults(plan.accelerator, node),
        ),
    )

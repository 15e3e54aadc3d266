"""What both executors have in common."""

from pathlib import Path

from vllm_multinode.launcher.arguments import given, without_model
from vllm_multinode.launcher.commands import cpu
from vllm_multinode.launcher.door import MIDDLEWARE, VARIABLE
from vllm_multinode.launcher.plan import AcceleratorKind, GroupPlan, Node

DEFAULT_TEMP = Path("/tmp")  # noqa: S108 - a pod's own


def serve_command(plan: GroupPlan, node: Node) -> list[str]:
    """The beginning of `vllm serve`: the model, which vLLM takes once and, since 0.17, nowhere else."""
    return ["vllm", "serve", str(plan.model_dir), *_parallel_arguments(plan, node)]


def user_arguments(plan: GroupPlan, node: Node) -> list[str]:
    """The end of `vllm serve`: what the user wrote, on the head and on this node."""
    return without_model([*plan.arguments, *node.arguments])


def _parallel_arguments(plan: GroupPlan, node: Node) -> list[str]:
    """The sizes, the executor, and for the CPU engine our defaults where the user says nothing."""
    arguments = [
        "--tensor-parallel-size",
        str(plan.sizes.tensor_parallel),
        "--pipeline-parallel-size",
        str(plan.sizes.pipeline_parallel),
        "--distributed-executor-backend",
        plan.executor,
    ]
    if plan.accelerator == "cpu":
        for option, value in cpu.default_arguments(node.vllm).items():
            if not given(plan.arguments, option):
                arguments += [option, value]
    return arguments


def head_arguments(plan: GroupPlan, node: Node) -> list[str]:
    """What only the API server is told."""
    arguments = ["--port", str(plan.ports.api)]
    # Every address of both families: clients come by the pod's, sidecars and port-forward by loopback.
    if plan.ip6 and not given(plan.arguments, "--host"):
        arguments += ["--host", "::"]
    if plan.model_name is not None and not given(plan.arguments, "--served-model-name"):
        arguments += ["--served-model-name", plan.model_name]
    # The watchdog tells busy from hung by it (launcher.watchdog).
    arguments.append("--enable-server-load-tracking")
    if node.door is not None:
        arguments += ["--middleware", MIDDLEWARE]
    return arguments


def api_environment(node: Node) -> dict[str, str]:
    """What only the API server's process is given."""
    return {VARIABLE: str(node.door)} if node.door is not None else {}


def node_defaults(accelerator: AcceleratorKind, node: Node) -> dict[str, str]:
    """The engine's environment on this node, where the pod's own does not say otherwise."""
    if accelerator == "cpu":
        return cpu.cpu_environment(
            node_address=node.address, interface=node.interface, fork=node.cpu_fork, version=node.vllm
        )
    defaults = {"VLLM_HOST_IP": node.address, "VLLM_NO_USAGE_STATS": "1"}
    if node.interface is not None:
        defaults |= {"GLOO_SOCKET_IFNAME": node.interface, "NCCL_SOCKET_IFNAME": f"={node.interface}"}
    return defaults

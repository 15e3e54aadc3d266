"""Ray: `ray start` on every node, `vllm serve` on the head."""

from vllm_multinode.contract import ports
from vllm_multinode.engines.vllm import vllm
from vllm_multinode.launcher.commands.common import (
    DEFAULT_TEMP,
    api_environment,
    head_arguments,
    node_defaults,
    serve_command,
    user_arguments,
)
from vllm_multinode.launcher.network import host_port
from vllm_multinode.launcher.plan import GroupPlan, Listener, Node, Process

# vLLM moves tensors over its own channels; Ray's default would take a third of the memory out of /dev/shm.
_OBJECT_STORE_BYTES = 256 * 1024**2
_STARVED = ("The current node timed out during startup", "No node info found")
_HEAD_ONLY = ("ray-client-server-port", "dashboard-port")


def starved(reason: str) -> bool:
    """Tell whether `ray start` ended because its node was too slow, which says nothing of another start.

    Args:
        reason: why the engine ended.
    """
    return any(words in reason for words in _STARVED)


def ray_ports(gcs: int, *, head: bool) -> tuple[int, ...]:
    """The ports that Ray opens on a node besides those of its worker processes.

    Args:
        gcs: the first of them, of the head's GCS.
        head: whether it is the head, which has some more.
    """
    offsets = [offset for name, offset in ports.RAY_OFFSETS.items() if head or name not in _HEAD_ONLY]
    if head:
        offsets += [0, *ports.RAY_ENV_OFFSETS.values()]
    return tuple(gcs + offset for offset in sorted(offsets))


def processes(plan: GroupPlan, node: Node) -> tuple[Process, ...]:
    """The processes of one node: its raylet, and on the head the API server once Ray answers."""
    ports_of_head = (plan.ports.ray, plan.ports.ray + ports.RAY_OFFSETS["node-manager-port"])
    # The raylet has a fixed time to come up: imports of ours, and other raylets, must not compete with it.
    head_answers = tuple(Listener(host=plan.head_address, port=port) for port in ports_of_head)
    environment = _ray_environment(plan, node)
    defaults = node_defaults(plan.accelerator, node)
    start = Process(
        name="ray",
        argv=_ray_start(plan, node),
        environment=environment,
        defaults=defaults,
        after=() if node.rank == 0 else head_answers,
    )
    if node.rank > 0:
        return (start,)
    serve = [*serve_command(plan, node), *head_arguments(plan, node)]
    return (
        start,
        Process(
            name="vllm",
            argv=(*serve, *user_arguments(plan, node)),
            environment=environment
            | api_environment(node)
            | {"RAY_ADDRESS": host_port(plan.head_address, plan.ports.ray)},
            defaults=defaults,
            after=head_answers,
        ),
    )


def _ray_start(plan: GroupPlan, node: Node) -> tuple[str, ...]:
    argv = ["ray", "start", "--block", "--disable-usage-stats", f"--node-ip-address={node.address}"]
    if node.rank == 0:
        argv += ["--head", f"--port={plan.ports.ray}", "--include-dashboard=false"]
        if node.scratch != DEFAULT_TEMP:
            # The workers take this path over from the head.
            argv.append(f"--temp-dir={node.scratch / 'ray'}")
    else:
        argv.append(f"--address={host_port(plan.head_address, plan.ports.ray)}")
    # vLLM's actors ask for no CPU; each one that is offered is a worker process started in vain.
    argv += ["--num-cpus=1", *_accelerators(plan, node), f"--object-store-memory={_OBJECT_STORE_BYTES}"]
    for option, offset in ports.RAY_OFFSETS.items():
        if node.rank == 0 or option not in _HEAD_ONLY:
            argv.append(f"--{option}={plan.ports.ray + offset}")
    first, last = plan.ports.ray_workers
    argv += [f"--min-worker-port={first}", f"--max-worker-port={last}"]
    return tuple(argv)


def _accelerators(plan: GroupPlan, node: Node) -> list[str]:
    """Gaudi's is a custom resource; Ray knows the others, and our CPU platform, as GPUs."""
    if plan.accelerator == "gaudi":
        return [f'--resources={{"HPU": {node.gpus}}}']
    return [f"--num-gpus={node.gpus}"]


def _ray_environment(plan: GroupPlan, node: Node) -> dict[str, str]:
    environment = {name: str(plan.ports.ray + offset) for name, offset in ports.RAY_ENV_OFFSETS.items()}
    environment["RAY_USAGE_STATS_ENABLED"] = "0"
    if plan.accelerator == "cpu":
        # A worker process that has imported vLLM already waits for the actor. Not with an accelerator:
        # there an import may open the device before the actor is told which one is its own.
        module = vllm(node.vllm).ray_actor_module
        environment |= {"RAY_enable_worker_prestart": "1", "RAY_preload_python_modules": module}
    if node.token_file is not None:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(node.token_file)}
    return environment

"""Whether this node's starts find vLLM imported, or why they do not."""

from collections.abc import Mapping, Sequence

from vllm_multinode.contract import env
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.engines.vllm import vllm
from vllm_multinode.launcher.identity import installed_versions
from vllm_multinode.launcher.plan import AcceleratorKind, Process
from vllm_multinode.launcher.processes import die_with_parent, process_environment
from vllm_multinode.launcher.programs import own_vllm
from vllm_multinode.launcher.reaper import Reaper
from vllm_multinode.launcher.settings import Settings
from vllm_multinode.launcher.warm import Warm, refusal


def warm_process(
    settings: Settings,
    environment: Mapping[str, str],
    unset: frozenset[str],
    reaper: Reaper,
    processes: Sequence[Process],
    accelerator: AcceleratorKind,
) -> Warm | str:
    """Start the process that this node's engines are forked from; in words why, where there is none.

    Args:
        settings: of this pod.
        environment: of the supervisor.
        unset: variables that the engine does not get.
        reaper: of the supervisor's children.
        processes: that will be started here; `vllm` among them says in which environment.
        accelerator: of this node.
    """
    process = next((one for one in processes if one.name == "vllm"), None)
    if not settings.warm_restart:
        return f"{env.WARM_RESTART} is false"
    if process is None:
        return "Ray's raylet starts this node's share of the engine"
    if not own_vllm(environment):
        return "vllm belongs to another Python"
    if why := refusal(accelerator):
        return why
    ray = EXECUTORS[settings.executor].needs_ray
    executor = vllm(installed_versions().vllm).ray_actor_module if ray else ""
    of_engine = process_environment(process, environment, unset)
    warm = Warm(accelerator, of_engine, reaper, before=die_with_parent, executor=executor)
    warm.start()
    return warm


def warmth(warm: Warm | None, cold: str) -> str:
    """Whether the next start finds vLLM imported, for `/status`.

    Args:
        warm: this node's warm process, if there is one.
        cold: why there is none.
    """
    if warm is None:
        return f"off: {cold}"
    if warm.off:
        return f"off: {warm.off}"
    return "ready" if warm.ready else "importing"

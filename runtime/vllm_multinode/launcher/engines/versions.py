"""What the launcher relies on in vLLM and Ray, and since which version: the one place that compares versions.

Each entry of `VLLM` was read in that version's source; `docs/versions.md` says which ones were run.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode

Version = tuple[int, ...]

NEWEST: Final = (0, 33)
"""The newest minor version of vLLM whose source was read."""
RAY_TOKEN: Final = (2, 52)
"""Ray's first version with token authentication; earlier ones ignore the token without a word."""

_NUMBER: Final = re.compile(r"v?(\d+(?:\.\d+)+)")


@dataclass(frozen=True, slots=True)
class Vllm:
    """The behaviours of vLLM from one version on, until the next entry.

    Attributes:
        since: the first version.
        multi_node_mp: `--nnodes`, `--node-rank` and `--master-addr` exist.
        compilation_key: what `--compilation-config` calls the level of compilation.
        ray_actor_module: what a worker process of Ray imports for its actor.
        ray_compiled_graph: under Ray, tensors pass from stage to stage through a compiled graph of Ray's.
        cpu_plugin: our CPU platform for local nodes (`plugin.CPU_PLATFORMS`). Before 0.17 ranks share memory
            without asking whether they can, before 0.20 the platform turns Ray into mp.
        cpu_torch: the torch that the CPU build of this version wants.
        cpu_without: packages that it wants in another version than that torch, and does not use.
    """

    since: Version
    multi_node_mp: bool = True
    compilation_key: str = "mode"
    ray_actor_module: str = "vllm.v1.executor.ray_executor_v2"
    ray_compiled_graph: bool = False
    cpu_plugin: str = "0.20"
    cpu_torch: str = "2.13.0"
    cpu_without: tuple[str, ...] = ()


def _history() -> tuple[Vllm, ...]:
    """The table, oldest first; an entry says only what has changed."""
    v0_10 = Vllm(
        (0, 10, 1),
        multi_node_mp=False,
        compilation_key="level",
        ray_actor_module="vllm.executor.ray_utils",
        ray_compiled_graph=True,
        cpu_plugin="0.10",
        cpu_torch="2.6.0",
    )
    v0_11_0 = replace(v0_10, since=(0, 11, 0), cpu_torch="2.8.0", cpu_without=("triton",))
    v0_11_1 = replace(
        v0_11_0,
        since=(0, 11, 1),
        multi_node_mp=True,
        compilation_key="mode",
        ray_actor_module="vllm.v1.executor.ray_utils",
    )
    v0_12 = replace(v0_11_1, since=(0, 12), cpu_torch="2.9.1", cpu_without=())
    v0_15 = replace(v0_12, since=(0, 15), cpu_torch="2.10.0")
    v0_17 = replace(v0_15, since=(0, 17), cpu_plugin="0.17")
    # RayExecutorV2 is there from 0.20 on, and the default from 0.21 on.
    v0_20 = replace(v0_17, since=(0, 20), cpu_plugin="0.20", cpu_torch="2.11.0")
    v0_21 = replace(
        v0_20, since=(0, 21), ray_actor_module="vllm.v1.executor.ray_executor_v2", ray_compiled_graph=False
    )
    v0_27 = replace(v0_21, since=(0, 27), cpu_torch="2.13.0")
    return (v0_10, v0_11_0, v0_11_1, v0_12, v0_15, v0_17, v0_20, v0_21, v0_27)


VLLM: Final = _history()

STEP_METRICS: Final = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "vllm:iteration_tokens_total_count",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:request_success_total",
    "vllm:prefix_cache_queries_total",
    "vllm:num_preemptions_total",
    "vllm:spec_decode_num_drafts_total",
)
"""What vLLM exports of each step of its scheduler and at no other time, the whole range over.

`gpu_cache_usage_perc` is `kv_cache_usage_perc` until 0.11. It moves with each chunk of a prefill, of which no
counter of tokens knows before its end.
"""

REMOVED_OPTIONS: Final = {
    "--disable-log-requests": (
        (0, 17),
        "Leave it out: requests are logged only where --enable-log-requests is given.",
    ),
    "--swap-space": ((0, 18), "Leave it out: the V1 engine has no swap space."),
    "--rope-scaling": ((0, 11, 1), "Write it as --hf-overrides '{\"rope_parameters\": {…}}'."),
    "--task": ((0, 13), "Use --runner, and --convert where a model is to be converted."),
    "--worker-use-ray": ((0, 10), "Leave it out: MULTINODE_EXECUTOR says which executor is used."),
    "--engine-use-ray": ((0, 10), "Leave it out: MULTINODE_EXECUTOR says which executor is used."),
    "--model-name": (
        (0, 10),
        "It is an option of KServe's own server; vLLM's is --served-model-name, which the launcher gives.",
    ),
    "--model-dir": (
        (0, 10),
        "It is an option of KServe's own server; the launcher gives vLLM the model's directory.",
    ),
    "--model-id": (
        (0, 10),
        "It is an option of KServe's own server; the launcher gives vLLM the model's directory.",
    ),
}
"""Options that public manifests carry and vLLM refuses: since when, and what to do instead."""


def parse(version: str) -> Version | None:
    """Return the numbers of a version such as 0.10.1.1+rhai3; None where it has none or is of no release."""
    match = _NUMBER.match(version)
    if match is None:
        return None
    numbers = tuple(map(int, match[1].split(".")))
    # What setuptools-scm calls a build of a checkout without tags.
    return None if numbers[:2] == (0, 1) else numbers


def vllm(version: str) -> Vllm:
    """Return the behaviours of a version; of the newest where the version cannot be told.

    Args:
        version: as the distribution's metadata has it.
    """
    numbers = parse(version)
    if numbers is None:
        return VLLM[-1]
    return next((entry for entry in reversed(VLLM) if entry.since <= numbers), VLLM[0])


def removed(option: str, version: str) -> str | None:
    """Tell what to do instead of an option that this version of vLLM no longer has.

    Args:
        option: the long name, with dashes.
        version: of vLLM.
    """
    since, advice = REMOVED_OPTIONS.get(option, (None, None))
    numbers = parse(version)
    return advice if since is None or numbers is None or numbers >= since else None


def check_engine(vllm_version: str, ray_version: str | None, executor: ExecutorName, *, token: bool) -> None:
    """Refuse versions that the launcher does not know.

    Args:
        vllm_version: as installed; a build without a release's number is taken for the newest.
        ray_version: as installed, None where Ray is not.
        executor: ray or mp.
        token: the group has a token, which Ray's processes are to ask for.

    Raises:
        MultinodeError: ENGINE_VERSION, with the version and the range.
    """
    numbers = parse(vllm_version)
    if numbers is not None:
        _check_vllm(vllm_version, numbers, executor)
    ray_numbers = parse(ray_version) if ray_version else None
    if EXECUTORS[executor].needs_ray and token and ray_numbers is not None and ray_numbers < RAY_TOKEN:
        raise MultinodeError(
            ExitCode.ENGINE_VERSION,
            f"Ray {ray_version} knows no token authentication and would ignore the group's token.",
            where="ray",
            hint=f"Use an image with Ray {_dotted(RAY_TOKEN)} or newer, or MULTINODE_EXECUTOR=mp.",
        )


def _check_vllm(version: str, numbers: Version, executor: ExecutorName) -> None:
    first = oldest(executor)
    if numbers[:2] > NEWEST:
        what = f"vLLM {version} is newer than the newest version that this launcher knows, {_dotted(NEWEST)}."
        hint = "Use a newer vllm-multinode, or an image with an older vLLM."
    elif numbers < first:
        what = f"vLLM {version} is too old for the {executor} executor over several nodes."
        hint = f"Use an image with vLLM {_dotted(first)} or newer"
        hint += "." if numbers < oldest("ray") else ", or MULTINODE_EXECUTOR=ray."
    else:
        return
    raise MultinodeError(ExitCode.ENGINE_VERSION, what, where="vllm", hint=hint)


def oldest(executor: ExecutorName) -> Version:
    """Return the first version of vLLM that an executor is supported with."""
    return next(entry.since for entry in VLLM if EXECUTORS[executor].needs_ray or entry.multi_node_mp)


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))

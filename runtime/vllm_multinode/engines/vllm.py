"""What vLLM does from which version on: the one table of its releases, and the one place that compares them.

Each behaviour was read in the sources of the releases around it; the file of vLLM that it stands in is named
beside it. `docs/versions.md` says which versions were run.
"""

import functools
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.versions import IMAGE, Version, dotted, parse

SUPPORTED: Final = (0, 10, 1)
"""The oldest version that the launcher starts."""
NEWEST: Final = (0, 33)
"""The newest minor version whose source was read."""

Blocks = Literal["tuples", "slots", "widest"]
FusedAllReduce = Literal["never", "one-stage", "always"]
Sparse = Literal["nothing", "few-heads", "fp8"]
RunnerV2 = Literal["nothing", "dense", "everything"]


@dataclass(frozen=True, slots=True)
class Vllm:
    """What vLLM does from one version on, until the next entry: first its start, then its memory.

    Attributes:
        since: the first version.
        name: the version that was asked for.
        multi_node_mp: `--nnodes`, `--node-rank` and `--master-addr` exist.
        compilation_key: what `--compilation-config` calls the level of compilation.
        ray_actor_module: what a worker process of Ray imports for its actor.
        ray_compiled_graph: under Ray, tensors pass from stage to stage through a compiled graph of Ray's.
        cpu_plugin: our CPU platform for local nodes (`plugin.CPU_PLATFORMS`). Before 0.17 ranks share memory
            without asking whether they can, before 0.20 the platform turns Ray into mp.
        cpu_torch: the torch that the CPU build of this version wants.
        cpu_without: packages that it wants in another version than that torch, and does not use.
        sorts_to_sample: top-k and top-p sort the vocabulary, which copies it several times in four and eight
            bytes; later a kernel masks in place with a buffer for each multiprocessor.
        keeps_expert_workspace: buffers of the experts stay between steps, beside all that comes after them:
            of none, of FP8 experts on CUDA, or of all.
        deducts_graphs: the estimate of CUDA graphs is taken from the cache on CUDA.
        deducts_graphs_on_rocm: and on ROCm.
        fused_all_reduce: TP takes workspaces of the fused all-reduce besides NCCL's, on Hopper and on
            Blackwell's data centre GPUs: never, on one stage alone, or always.
        runner_v2: which models the second model runner serves; it samples without top-k and top-p when it
            profiles, and keeps counts of the vocabulary for every request.
        runner_v2_estimates_graphs: whether that runner has an estimate of its graphs to deduct.
        measures_free_memory: what is used is the device's free memory before and after, and no longer what
            is known of: buffers made before loading and what the allocator cannot give back count.
        unsplit_loading: large blocks of the allocator are not split while weights are loaded, so that
            freed ones can be given back.
        wide_batch_on_large_gpus: GPUs of 160 GiB and more take batches of 16384 tokens.
        mxfp4_on_hopper_by_triton: MXFP4 experts are laid out for Triton's kernel on Hopper, not for Marlin's.
        sparse_by_flashinfer: what FlashInfer serves of sparse latent attention on Blackwell before FlashMLA,
            which packs a cache in FP8: nothing, ranks with few heads, or every cache in FP8.
        compressed_blocks: how a block holds what the groups of compressed layers need: as many of each page
            size as the most frequent has, of each size as many as any group has, or as much as the widest
            group takes.
        counts_groups_by_bytes: where groups differ in bytes, the concurrency that is logged counts their
            blocks by those, as parts of the first group's.
        reserves_in_flight: windows reserve for every batch that may be under way, no longer for one.
        counts_tokens_by_requests: the tokens of the cache are those of the requests that it holds, and no
            longer the tokens of its blocks over its groups.
        held_against_logs: start logs were read of it, or of versions that measure alike.
    """

    since: Version
    name: str = ""
    multi_node_mp: bool = False
    compilation_key: str = "level"
    ray_actor_module: str = "vllm.executor.ray_utils"
    ray_compiled_graph: bool = True
    cpu_plugin: str = "0.10"
    cpu_torch: str = "2.6.0"
    cpu_without: tuple[str, ...] = ()
    sorts_to_sample: bool = True
    keeps_expert_workspace: Literal["no", "fp8", "yes"] = "fp8"
    deducts_graphs: bool = False
    deducts_graphs_on_rocm: bool = False
    fused_all_reduce: FusedAllReduce = "never"
    runner_v2: RunnerV2 = "nothing"
    runner_v2_estimates_graphs: bool = False
    measures_free_memory: bool = False
    unsplit_loading: bool = False
    wide_batch_on_large_gpus: bool = False
    mxfp4_on_hopper_by_triton: bool = False
    sparse_by_flashinfer: Sparse = "nothing"
    compressed_blocks: Blocks = "tuples"
    counts_groups_by_bytes: bool = True
    reserves_in_flight: bool = False
    counts_tokens_by_requests: bool = False
    held_against_logs: bool = True


_CHANGES: Final[tuple[tuple[Version, dict[str, Any]], ...]] = (
    ((0, 11, 0), {"cpu_torch": "2.8.0", "cpu_without": ("triton",)}),
    (
        (0, 11, 1),
        {
            "multi_node_mp": True,
            "compilation_key": "mode",
            "ray_actor_module": "vllm.v1.executor.ray_utils",
        },
    ),
    ((0, 12), {"cpu_torch": "2.9.1", "cpu_without": ()}),
    # fused_moe/modular_kernel.py: buffers shared by its classes are gone; quantization/mxfp4.py: Triton's
    ((0, 12), {"keeps_expert_workspace": "no", "mxfp4_on_hopper_by_triton": True}),
    # v1/worker/workspace.py: the experts' buffers belong to a manager that never shrinks
    ((0, 14), {"keeps_expert_workspace": "yes"}),
    ((0, 15), {"cpu_torch": "2.10.0"}),
    ((0, 17), {"cpu_plugin": "0.17"}),
    # v1/sample/ops/topk_topp_triton.py
    ((0, 17), {"sorts_to_sample": False}),
    # config/vllm.py: enable_allreduce_rms_fusion, here and below
    ((0, 17), {"fused_all_reduce": "always"}),
    # platforms/cuda.py: _get_backend_priorities
    ((0, 17), {"sparse_by_flashinfer": "few-heads"}),
    ((0, 18), {"fused_all_reduce": "one-stage"}),
    ((0, 19), {"sparse_by_flashinfer": "fp8"}),
    # RayExecutorV2 is there, and the default from the next on.
    ((0, 20), {"cpu_plugin": "0.20", "cpu_torch": "2.11.0"}),
    # envs.py: VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS is on
    ((0, 20), {"deducts_graphs": True}),
    (
        (0, 21),
        {"ray_actor_module": "vllm.v1.executor.ray_executor_v2", "ray_compiled_graph": False},
    ),
    ((0, 21), {"fused_all_reduce": "always"}),
    # v1/worker/gpu_worker.py: the allocator does not split while it loads
    ((0, 22), {"unsplit_loading": True}),
    # v1/core/kv_cache_utils.py: _get_kv_cache_config_packed
    ((0, 23), {"compressed_blocks": "slots"}),
    ((0, 23), {"fused_all_reduce": "one-stage"}),
    ((0, 24), {"fused_all_reduce": "always"}),
    # v1/core/kv_cache_utils.py: get_kv_cache_capacity
    ((0, 24), {"counts_tokens_by_requests": True}),
    # config/vllm.py: dense models take Model Runner V2
    ((0, 25), {"runner_v2": "dense"}),
    # config/vllm.py: max_in_flight_tokens
    ((0, 26), {"reserves_in_flight": True}),
    ((0, 27), {"cpu_torch": "2.13.0"}),
    # v1/core/kv_cache_utils.py: groups are laid over one another; get_max_concurrency_for_kv_cache_config
    ((0, 27), {"compressed_blocks": "widest", "counts_groups_by_bytes": False}),
    # utils/mem_utils.py: total_consumed, from the device's free memory
    ((0, 27), {"measures_free_memory": True, "held_against_logs": False}),
    # engine/arg_utils.py: a third class of GPUs
    ((0, 28), {"wide_batch_on_large_gpus": True}),
    # config/vllm.py: all models take it; v1/worker/gpu/cudagraph_utils.py: an estimate of its graphs
    (
        (0, 29),
        {"runner_v2": "everything", "runner_v2_estimates_graphs": True, "deducts_graphs_on_rocm": True},
    ),
)


def _history() -> tuple[Vllm, ...]:
    """The changes folded, oldest first: each version from which on something differs, once."""
    entries = [Vllm(SUPPORTED)]
    for since, changes in _CHANGES:
        entry = replace(entries[-1], **{"since": since, **changes})
        entries[-1:] = [entry] if entries[-1].since == since else [entries[-1], entry]
    return tuple(entries)


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
"""Options that public manifests carry and vLLM rejects: since when, and what to do instead."""


@functools.cache
def vllm(version: str) -> Vllm:
    """Return the behaviours of an installed version; of the newest where the version cannot be told.

    Args:
        version: as the distribution's metadata has it.
    """
    return _at(version, parse(version) or VLLM[-1].since)


@functools.cache
def vllm_named(version: str = IMAGE) -> Vllm:
    """Return the behaviours of a version that a user or a log names.

    Args:
        version: such as 0.32.0 or v0.18.1.dev3.

    Raises:
        MultinodeError: USAGE, for what is no version.
    """
    name = version.strip()
    numbers = parse(name)
    if numbers is None:
        what = f"{version!r} is not a version of vLLM."
        raise MultinodeError(ExitCode.USAGE, what, hint=f"Give one such as {IMAGE}.")
    return _at(name, numbers)


def _at(name: str, numbers: Version) -> Vllm:
    entry = next((entry for entry in reversed(VLLM) if entry.since <= numbers), VLLM[0])
    return replace(entry, name=name.removeprefix("v"))


def unread(version: Vllm) -> str:
    """Say which version stands in for one whose source was not read; empty for one that was."""
    numbers = parse(version.name) or SUPPORTED
    if numbers[:2] > NEWEST:
        known = f"newer than {dotted(NEWEST)}, the newest"
    elif numbers < SUPPORTED:
        known = f"older than {dotted(SUPPORTED)}, the oldest"
    else:
        return ""
    return f"vLLM {version.name} is {known} that was read; it is taken to behave like it."


def removed(option: str, version: str) -> str | None:
    """Tell what to do instead of an option that this version of vLLM no longer has.

    Args:
        option: the long name, with dashes.
        version: of vLLM.
    """
    since, advice = REMOVED_OPTIONS.get(option, (None, None))
    numbers = parse(version)
    return advice if since is None or numbers is None or numbers >= since else None

"""What versions of vLLM do differently where memory is concerned: each difference has a name and stands here.

A version is the changes up to it, folded. Each was read in the sources of the releases around it; the file
of vLLM that it stands in is named beside it.
"""

import functools
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.planner.compressed_cache import Blocks

# The version that the image carries.
DEFAULT = "0.32.0"

RunnerV2 = Literal["nothing", "dense", "everything"]


@dataclass(frozen=True, slots=True)
class EngineVersion:
    """Named behaviours of one version.

    Attributes:
        name: the version.
        sorts_to_sample: top-k and top-p sort the vocabulary, which copies it several times in four and eight
            bytes; later a kernel masks in place with a buffer for each multiprocessor.
        keeps_expert_workspace: buffers of the experts stay between steps, beside all that comes after them:
            of none, of FP8 experts on CUDA, or of all.
        deducts_graphs: the estimate of CUDA graphs is taken from the cache on CUDA.
        deducts_graphs_on_rocm: and on ROCm.
        fused_all_reduce: TP takes workspaces of the fused all-reduce besides NCCL's.
        runner_v2: which models the second model runner serves; it samples without top-k and top-p when it
            profiles, and keeps counts of the vocabulary for every request.
        runner_v2_estimates_graphs: whether that runner has an estimate of its graphs to deduct.
        measures_free_memory: what is used is the device's free memory before and after, and no longer what
            is known of: buffers made before loading and what the allocator cannot give back count.
        unsplit_loading: large blocks of the allocator are not split while weights are loaded, so that
            freed ones can be given back.
        wide_batch_on_large_gpus: GPUs of 160 GiB and more take batches of 16384 tokens.
        mxfp4_on_hopper_by_triton: MXFP4 experts are laid out for Triton's kernel on Hopper, not for Marlin's.
        held_against_logs: start logs were read of it, or of versions that measure alike.
        compressed_blocks: how a block holds what the groups of compressed layers need: as many of each page
            size as the most frequent has, of each size as many as any group has, or as much as the widest
            group takes.
        counts_groups_by_bytes: where groups differ in bytes, the concurrency that is logged counts their
            blocks by those, as parts of the first group's.
        reserves_in_flight: windows reserve for every batch that may be under way, no longer for one.
        counts_tokens_by_requests: the tokens of the cache are those of the requests that it holds, and no
            longer the tokens of its blocks over its groups.
    """

    name: str = ""
    sorts_to_sample: bool = True
    keeps_expert_workspace: Literal["no", "fp8", "yes"] = "fp8"
    deducts_graphs: bool = False
    deducts_graphs_on_rocm: bool = False
    fused_all_reduce: bool = False
    runner_v2: RunnerV2 = "nothing"
    runner_v2_estimates_graphs: bool = False
    measures_free_memory: bool = False
    unsplit_loading: bool = False
    wide_batch_on_large_gpus: bool = False
    mxfp4_on_hopper_by_triton: bool = False
    counts_tokens_by_requests: bool = False
    compressed_blocks: Blocks = "tuples"
    counts_groups_by_bytes: bool = True
    reserves_in_flight: bool = False
    held_against_logs: bool = True


_CHANGES: tuple[tuple[tuple[int, int], dict[str, Any]], ...] = (
    # fused_moe/modular_kernel.py: buffers shared by its classes are gone; quantization/mxfp4.py: Triton's
    ((0, 12), {"keeps_expert_workspace": "no", "mxfp4_on_hopper_by_triton": True}),
    # v1/worker/workspace.py: the experts' buffers belong to a manager that never shrinks
    ((0, 14), {"keeps_expert_workspace": "yes"}),
    # v1/sample/ops/topk_topp_triton.py; compilation: all-reduce and norm are fused by default
    ((0, 17), {"sorts_to_sample": False, "fused_all_reduce": True}),
    # envs.py: VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS is on
    ((0, 20), {"deducts_graphs": True}),
    # v1/worker/gpu_worker.py: the allocator does not split while it loads
    ((0, 22), {"unsplit_loading": True}),
    # v1/core/kv_cache_utils.py: _get_kv_cache_config_packed
    ((0, 23), {"compressed_blocks": "slots"}),
    # v1/core/kv_cache_utils.py: get_kv_cache_capacity
    ((0, 24), {"counts_tokens_by_requests": True}),
    # config/vllm.py: dense models take Model Runner V2
    ((0, 25), {"runner_v2": "dense"}),
    # config/vllm.py: max_in_flight_tokens
    ((0, 26), {"reserves_in_flight": True}),
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


@functools.cache
def engine_version(name: str = DEFAULT) -> EngineVersion:
    """The behaviours of a version.

    Args:
        name: such as 0.32.0 or v0.18.1.dev3; what follows the second number does not count.

    Raises:
        MultinodeError: USAGE, for what is no version.
    """
    found = re.match(r"v?(\d{1,4})\.(\d{1,4})(?:\D.*)?$", name.strip())
    if found is None:
        what = f"{name!r} is not a version of vLLM."
        raise MultinodeError(ExitCode.USAGE, what, hint="Give one such as 0.32.0.")
    wanted = (int(found[1]), int(found[2]))
    version = EngineVersion(name.strip().removeprefix("v"))
    for since, changes in _CHANGES:
        if since <= wanted:
            version = replace(version, **changes)
    return version

"""What one GPU holds, part by part; the formulas are estimates where `ESTIMATED` says so."""

import math
from dataclasses import dataclass
from typing import Literal

from vllm_multinode.engines.vllm import Vllm
from vllm_multinode.sizing.planner.profiling import GIB, Batch, Profile

# Parts that no configuration tells: they are learnt from what engines report, and differ between versions.
ESTIMATED = ("activations", "graphs", "reserve", "allowance")

# vLLM's default of gpu_memory_utilization.
UTILIZATION = 0.92
# vLLM's defaults of max_num_batched_tokens and max_num_seqs for a server, by the memory of the GPU.
_LARGEST, _LARGE, _OTHER = Batch(16384, 1024), Batch(8192, 1024), Batch(2048, 256)
_LARGEST_GIB, _LARGE_GIB = 160, 70
SMALL_BATCH = 2048
# How far published start logs lie from the estimates, of each part; nine of ten stay within their sum.
_ERROR_LEAST = 0.25 * GIB
_ERROR_OF_WEIGHTS, _ERROR_OF_ESTIMATES = 0.01, 0.15
# A version whose way to measure no start log has confirmed yet.
_ERROR_UNSEEN = 0.35 * GIB
# An architecture that was not held against an engine, and one GPU whose memory is not its own.
_ERROR_OF_GUESSES = 0.05
# Of weights, for what layers need that are not modelled in full: as much as two logs of DeepSeek-V4 show.
_ALLOWANCE = 0.06
_ERROR_UNIFIED = 6 * GIB

Verdict = Literal["fits", "within-error", "does-not-fit"]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one GPU of one stage.

    Attributes:
        total: as the engine sees it.
        usable: of it, what vLLM takes.
        weights: of the stage on the fullest rank, with what loading leaves beside them.
        kv_cache: for the context and concurrency asked for.
        profile: what the engine finds beside both.
        allowance: for what is not modelled.
        error: by which all this may be wrong.
    """

    total: int
    usable: int
    weights: int
    kv_cache: int
    profile: Profile
    allowance: int
    error: int

    @property
    def activations(self) -> int:
        """The peak of one step, and buffers that stay."""
        return self.profile.parts.peak

    @property
    def graphs(self) -> int:
        """CUDA graphs that the engine takes from the cache; others lie in what it does not use."""
        return self.profile.graphs if self.profile.graphs_deducted else 0

    @property
    def reserve(self) -> int:
        """Runtime, NCCL and all-reduce, on the rank that has most of them."""
        return self.profile.reserve + self.profile.uneven

    @property
    def fixed(self) -> int:
        """All but the cache that is taken from what vLLM may use."""
        return self.weights + self.activations + self.graphs + self.reserve + self.allowance

    @property
    def available(self) -> int:
        """What the engine calls "Available KV cache memory", on its first rank; below 0 it does not start."""
        return self.usable - self.fixed + self.profile.uneven

    @property
    def surely_available(self) -> int:
        """Of it, what is there even where the estimate errs as far as it may, on every rank."""
        return self.usable - self.fixed - self.error

    @property
    def for_cache(self) -> int:
        """What the cache may take."""
        return max(0, self.usable - self.fixed)

    @property
    def left(self) -> int:
        """Of what vLLM takes, what nothing needs; negative where it does not fit."""
        return self.usable - self.fixed - self.kv_cache

    @property
    def verdict(self) -> Verdict:
        """Whether it fits, with more to spare than the estimate may be wrong."""
        if self.left < 0:
            return "does-not-fit" if self.left < -self.error else "within-error"
        return "fits" if self.left >= self.error else "within-error"


def default_batch(memory_gib: float, name: str, version: Vllm, context: int, concurrency: int = 1) -> Batch:
    """vLLM's own batch on a GPU of this memory.

    Args:
        memory_gib: of the GPU.
        name: of the GPU; an A100 counts among the smaller ones.
        version: of the engine.
        context: max_model_len; all requests together never bring more tokens than that many each.
        concurrency: requests asked for; max_num_seqs is raised to them.
    """
    batch = _OTHER
    if memory_gib >= _LARGEST_GIB and version.wide_batch_on_large_gpus:
        batch = _LARGEST
    elif memory_gib >= _LARGE_GIB and "A100" not in name.upper():
        batch = _LARGE
    requests = max(batch.requests, concurrency)
    return Batch(min(batch.tokens, max(context, 1) * requests), requests)


def stage_memory(
    weights: float,
    profile: Profile,
    *,
    total: int,
    utilization: float,
    kv_bytes: int,
    guessed: bool = False,
    in_part: bool = False,
    unified: bool = False,
    unseen: bool = False,
) -> Memory:
    """What a GPU of one stage holds.

    Args:
        weights: bytes on the stage's fullest rank.
        profile: what the engine finds there beside them.
        total: bytes of the GPU.
        utilization: part of it that vLLM may take.
        kv_bytes: of the cache for what was asked.
        guessed: whether the architecture was not held against an engine.
        in_part: whether its layers are not modelled in full.
        unified: whether the processor's memory is the GPU's.
        unseen: whether no start log of the version, or one like it, was read.
    """
    graphs = profile.graphs if profile.graphs_deducted else 0
    estimates = profile.parts.peak + profile.reserve + graphs
    error = _ERROR_LEAST + math.hypot(_ERROR_OF_WEIGHTS * weights, _ERROR_OF_ESTIMATES * estimates)
    error += _ERROR_OF_GUESSES * weights if guessed else 0
    error += _ERROR_UNIFIED if unified else 0
    error += _ERROR_UNSEEN if unseen else 0
    return Memory(
        total=total,
        usable=int(total * utilization),
        weights=round(weights),
        kv_cache=kv_bytes,
        profile=profile,
        allowance=round(_ALLOWANCE * weights) if in_part else 0,
        error=round(error),
    )

"""Bounds on time: what hardware alone forbids to be faster. No engine reaches them; none passes them."""

from dataclasses import dataclass, replace

from vllm_multinode.checkpoint.stages import layer_split
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.layers import LatentAttention
from vllm_multinode.sizing.model.splits import Cut, Part
from vllm_multinode.sizing.planner.kv_cache import Cache
from vllm_multinode.sizing.planner.startup import startup_budget

# Tokens of a request for which bounds are given, besides the context that was planned for.
SHORT, USUAL = 1024, 8192
# What a sparse indexer lets attention read, where the configuration says nothing (DeepSeek-V3.2).
_SPARSE_TOKENS = 2048
_SCALE = 4


@dataclass(frozen=True, slots=True)
class Bound:
    """Tokens a second that memory and interconnect allow at most.

    Attributes:
        context: tokens of every request.
        one: of one request alone.
        together: of all requests asked for.
    """

    context: int
    one: float
    together: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Bounds; none where the catalogue lacks a figure.

    Attributes:
        load_seconds: least, to read a node's weights from the claim.
        startup_seconds: budget for a startup probe, with a margin.
        bounds: for short, usual and full requests; the first holds for any longer one too.
        prefill_tokens_per_s: most, of prompts.
    """

    load_seconds: float
    startup_seconds: int
    bounds: tuple[Bound, ...]
    prefill_tokens_per_s: float | None

    @property
    def stream_tokens_per_s(self) -> float | None:
        """Most, of one request alone, however short."""
        return self.bounds[0].one if self.bounds else None

    @property
    def total_tokens_per_s(self) -> float | None:
        """Most, of all requests asked for together, however short."""
        return self.bounds[0].together if self.bounds else None


@dataclass(frozen=True, slots=True)
class Wires:
    """What a GPU reads and sends.

    Attributes:
        memory_gbs: GB/s of its memory; None for unknown.
        link_gbs: GB/s to its peers of one TP group; None for unknown.
        tflops: dense TFLOP/s in the model's dtype; None for unknown.
        claim_gbs: GB/s that one node reads from the claim.
    """

    memory_gbs: float | None
    link_gbs: float | None
    tflops: float | None
    claim_gbs: float


def bounds(
    model: Architecture, cut: Cut, cache: Cache, *, tp: int, pp: int, nodes: int, context: int,
    concurrency: int, wires: Wires,
) -> Speed:  # fmt: skip
    """Bounds of one cut.

    Args:
        model: the model.
        cut: its weights for this TP.
        cache: its cache for this cut.
        tp: tensor parallel size.
        pp: pipeline parallel size.
        nodes: that share the stages evenly.
        context: tokens of a full request.
        concurrency: requests at once.
        wires: what a GPU reads and sends.
    """
    on_node = cut.checkpoint / max(1, min(nodes, pp))
    load = on_node / (wires.claim_gbs * 1e9)
    found: list[Bound] = []
    if wires.memory_gbs:
        # Requests spread over the stages: each stage works on its part of them at a time.
        each = concurrency / min(pp, concurrency)
        stages = cut.stages(pp)
        for length in dict.fromkeys(min(size, context) for size in (SHORT, USUAL, context)):
            alone = _round(model, stages, cache, tp, length, 1.0, wires)
            shared = alone if each == 1 else _round(model, stages, cache, tp, length, each, wires)
            found.append(Bound(length, 1 / alone, concurrency / shared))
    prefill = _prefill(model, cut, tp, pp, wires.tflops) if wires.tflops else None
    return Speed(load, startup_budget(load), tuple(found), prefill)


def _round(
    model: Architecture, stages: tuple[Part, ...], cache: Cache, tp: int, context: int, requests: float,
    wires: Wires,
) -> float:  # fmt: skip
    """Seconds in which every request under way gains one token: through all stages, one after another."""
    seconds = 0.0
    sizes = layer_split(len(model.layers), len(stages))
    more = _more_experts(model, requests)
    # A token reads windows as they are, not what they reserve for batches under way.
    cached = replace(cache, in_flight=1).blocks(context) * requests * _read_part(model, context)
    for stage, part in enumerate(stages):
        read = part.active + part.routed * more
        seconds += (read + cache.stage_block_bytes[stage] * cached) / ((wires.memory_gbs or 1.0) * 1e9)
        if tp > 1 and wires.link_gbs:
            # Two all-reduces a layer; a switch that adds up takes each rank's vector once.
            sent = 2 * sizes[stage] * model.hidden * model.dtype_bytes * max(1.0, requests)
            seconds += sent / (wires.link_gbs * 1e9)
    return max(seconds, 1e-12)


def _more_experts(model: Architecture, requests: float) -> float:
    """Part of the experts that a batch is expected to use beyond those of one request.

    Of E experts with k for a token, n tokens use E x (1 - (1 - k / E)^n) where all are equally likely.
    """
    experts = next((layer.experts for layer in model.layers if layer.experts), None)
    if experts is None or not experts.routed:
        return 0.0
    part = experts.active / experts.routed
    expected: float = 1 - (1 - part) ** max(1.0, requests)
    return max(0.0, expected - part)


def _read_part(model: Architecture, context: int) -> float:
    """Part of its cache that a token reads: all of it, but for a sparse indexer, which chooses."""
    mixer = next((m for layer in model.layers for m in layer.mixers if isinstance(m, LatentAttention)), None)
    if mixer is None or not mixer.index_heads or context <= _SPARSE_TOKENS:
        return 1.0
    keys = mixer.index_dim + _SCALE
    latent = (mixer.kv_rank + mixer.rope_dim) * model.dtype_bytes
    return (keys + latent * _SPARSE_TOKENS / context) / (keys + latent)


def _prefill(model: Architecture, cut: Cut, tp: int, pp: int, tflops: float) -> float:
    """Tokens a second at two operations per parameter in use, on every GPU at once."""
    active = sum(part.active for part in cut.stages(pp)) * tp
    numbers = max(active / _bytes_per_number(model), 1.0)
    return tflops * 1e12 * tp * pp / (2 * numbers)


def _bytes_per_number(model: Architecture) -> float:
    """Of most linear layers."""
    schemes = [scheme for _, scheme in model.quantization.schemes]
    return schemes[-1].bits / 8 if schemes else float(model.dtype_bytes)

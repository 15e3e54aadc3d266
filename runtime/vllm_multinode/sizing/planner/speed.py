"""Bounds on time: what hardware alone forbids to be faster. No engine reaches them; none passes them."""

from dataclasses import dataclass

from vllm_multinode.checkpoint.stages import layer_split
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.splits import Cut
from vllm_multinode.sizing.planner.kv_cache import Cache
from vllm_multinode.sizing.planner.startup import startup_budget


@dataclass(frozen=True, slots=True)
class Speed:
    """Bounds; None where the catalogue lacks a figure.

    Attributes:
        load_seconds: least, to read a node's weights from the claim.
        startup_seconds: budget for a startup probe, with a margin.
        stream_tokens_per_s: most, of one request alone.
        total_tokens_per_s: most, of all requests asked for together.
        prefill_tokens_per_s: most, of prompts.
        notes: what the bounds leave out.
    """

    load_seconds: float
    startup_seconds: int
    stream_tokens_per_s: float | None
    total_tokens_per_s: float | None
    prefill_tokens_per_s: float | None
    notes: tuple[str, ...] = ()


def bounds(
    model: Architecture,
    cut: Cut,
    cache: Cache,
    *,
    tp: int,
    pp: int,
    nodes: int,
    context: int,
    concurrency: int,
    claim_gbs: float,
    bandwidth_gbs: float | None,
    link_gbs: float | None,
    tflops: float | None,
) -> Speed:
    """Bounds of one cut.

    Args:
        model: the model.
        cut: its weights for this TP.
        cache: its cache for this cut.
        tp: tensor parallel size.
        pp: pipeline parallel size.
        nodes: that share the stages evenly.
        context: tokens of every request.
        concurrency: requests at once.
        claim_gbs: GB/s that one node reads from the claim.
        bandwidth_gbs: GB/s of a GPU's memory; None for unknown.
        link_gbs: GB/s that a GPU sends to its peers of one TP group; None for unknown.
        tflops: dense TFLOP/s of a GPU in the model's dtype; None for unknown.
    """
    on_node = cut.checkpoint / max(1, min(nodes, pp))
    load = on_node / (claim_gbs * 1e9)
    stream = total = prefill = None
    if bandwidth_gbs:
        stream = 1 / _round(model, cut, cache, tp, pp, context, 1.0, bandwidth_gbs, link_gbs)
        # Requests spread over the stages: each stage works on its part of them at a time.
        each = concurrency / min(pp, concurrency)
        total = concurrency / _round(model, cut, cache, tp, pp, context, each, bandwidth_gbs, link_gbs)
    if tflops:
        prefill = _prefill(model, cut, tp, pp, tflops)
    notes = (
        "bounds from memory bandwidth, interconnect and arithmetic alone; kernels and latency come on top",
    )
    return Speed(load, startup_budget(load), stream, total, prefill, notes)


def _round(
    model: Architecture,
    cut: Cut,
    cache: Cache,
    tp: int,
    pp: int,
    context: int,
    requests: float,
    bandwidth_gbs: float,
    link_gbs: float | None,
) -> float:
    """Seconds in which every request under way gains one token: through all stages, one after another."""
    seconds = 0.0
    sizes = layer_split(len(model.layers), pp)
    for stage, part in enumerate(cut.stages(pp)):
        # A batch touches at least one request's experts and at most all.
        read = min(part.loaded, part.active * max(1.0, requests))
        cached = cache.stage_block_bytes[stage] * cache.blocks(context) * requests
        seconds += (read + cached) / (bandwidth_gbs * 1e9)
        if tp > 1 and link_gbs:
            # Two all-reduces a layer, each of which sends nearly twice the vector.
            sent = (
                2 * sizes[stage] * 2 * (tp - 1) / tp * model.hidden * model.dtype_bytes * max(1.0, requests)
            )
            seconds += sent / (link_gbs * 1e9)
    return max(seconds, 1e-12)


def _prefill(model: Architecture, cut: Cut, tp: int, pp: int, tflops: float) -> float:
    """Tokens a second at two operations per parameter in use, on every GPU at once."""
    active = sum(part.active for part in cut.stages(pp)) * tp
    numbers = max(active / _bytes_per_number(model), 1.0)
    return tflops * 1e12 * tp * pp / (2 * numbers)


def _bytes_per_number(model: Architecture) -> float:
    """Of most linear layers."""
    schemes = [scheme for _, scheme in model.quantization.schemes]
    return schemes[-1].bits / 8 if schemes else float(model.dtype_bytes)

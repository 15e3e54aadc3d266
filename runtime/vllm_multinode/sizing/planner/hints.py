"""Sentences about a choice: what was assumed, and what a user has to set."""

from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.planner import memory
from vllm_multinode.sizing.planner.choice import Choice
from vllm_multinode.sizing.planner.request import Request

_AMPERE = 8.0
# GB/s in one direction; what is slower is PCIe.
_FAST_LINK = 100.0


def notes_of(
    model: Architecture,
    request: Request,
    best: Choice | None,
    smaller: Choice | None,
    *,
    fits: bool,
    context: int,
) -> tuple[str, ...]:
    """Everything worth a sentence.

    Args:
        model: the model.
        request: what was asked.
        best: the choice; None where every cut is refused.
        smaller: the largest that is smaller and does not fit; None where there is none.
        fits: whether it does.
        context: tokens of a request that were planned for.
    """
    found = [*request.notes]
    if best is None:
        return (*found, "vLLM refuses every way to cut this model over these GPUs.")
    if not request.context:
        whose = "the model's own limit" if model.max_context else "taken, the configuration gives no limit"
        found.append(f"The context is {context} tokens ({whose}); --context asks for less.")
    if smaller is not None:
        found.append(_too_small(smaller, request))
    found += _shape(request, best)
    found += _hardware(model, request, best)
    usual = memory.default_batch(request.gpu.memory_gib, request.gpu.name, context)
    if best.batch != usual:
        found.append(
            f"It needs --max-num-batched-tokens {best.batch.tokens} --max-num-seqs {best.batch.requests}."
        )
    if not fits:
        found.append(_lack(best))
    return tuple(found)


def _shape(request: Request, best: Choice) -> list[str]:
    found = []
    if best.nodes > 1 and not best.crosses:
        found.append(
            f"TP {best.tensor_parallel} stays inside a node; PP {best.pipeline_parallel} crosses nodes."
        )
    if best.crosses:
        found.append(
            f"TP {best.tensor_parallel} spans nodes, because vLLM refuses what would stay inside one."
        )
    if len(set(request.node_gpus)) > 1:
        counts = ", ".join(map(str, sorted(request.node_gpus, reverse=True)))
        found.append(
            f"Nodes have {counts} GPUs; all ranks of a group need the same count, {best.gpus_per_node} here."
        )
    if EXECUTORS[request.executor].node_per_stage and best.pipeline_parallel > 1:
        pods, each = best.pipeline_parallel, best.tensor_parallel
        found.append(f"Under {request.executor} KServe makes {pods} pods of {each} GPUs, one for each stage.")
    return found


def _too_small(smaller: Choice, request: Request) -> str:
    """Why not less."""
    if smaller.max_context:
        many = f" with {request.concurrency} at once" if request.concurrency > 1 else ""
        return f"{smaller.label} would hold {smaller.max_context} tokens{many}, and no more."
    lack = -smaller.memory.left / memory.GIB
    return f"{smaller.label} lacks {lack:.1f} GiB on its fullest GPU."


def _hardware(model: Architecture, request: Request, best: Choice) -> list[str]:
    found = []
    gpu = request.gpu
    try:
        capability = float(gpu.capability)
    except ValueError:
        capability = _AMPERE
    if capability < _AMPERE:
        found.append(f"{gpu.name} has no bfloat16: --dtype half.")
    eight_bit = any(scheme.form in ("fp8", "fp8-block") for _, scheme in model.quantization.schemes)
    if eight_bit and gpu.fp8 is False:
        found.append(f"{gpu.name} does not multiply FP8: weights are kept in it and widened for every step.")
    if best.tensor_parallel > 1 and gpu.link_gbs and gpu.link_gbs < _FAST_LINK:
        found.append(
            f"{gpu.name} sends {gpu.link_gbs:g} GB/s to its peers; TP needs that in every layer, PP hardly."
        )
    return found


def _lack(best: Choice) -> str:
    lack = -best.memory.left / memory.GIB
    if best.memory.for_cache <= 0:
        return f"The weights alone do not fit: {lack:.1f} GiB are lacking on the fullest GPU."
    if best.max_context:
        return f"{lack:.1f} GiB are lacking; a context of {best.max_context} tokens would fit."
    return f"{lack:.1f} GiB are lacking on the fullest GPU; no context at all fits this concurrency."

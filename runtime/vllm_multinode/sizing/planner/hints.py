"""Sentences about a choice: what was assumed, and what a user has to set."""

from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.planner.choice import Choice, is_power_of_two
from vllm_multinode.sizing.planner.cuts import Planner
from vllm_multinode.sizing.planner.profiling import GIB
from vllm_multinode.sizing.planner.request import Request

_AMPERE = 8.0
# GB/s in one direction; what is slower is PCIe.
_FAST_LINK = 100.0


def notes_of(
    planner: Planner, best: Choice | None, smaller: Choice | None, alternatives: tuple[Choice, ...]
) -> tuple[str, ...]:
    """Everything worth a sentence.

    Args:
        planner: of the request.
        best: the choice; None where every cut is rejected.
        smaller: the largest that is smaller and does not surely fit; None where there is none.
        alternatives: that are named beside it.
    """
    model, request, context = planner.model, planner.request, planner.context
    found = [*request.notes, *(need.what for need in request.source.needs)]
    if best is None:
        return (*found, "vLLM rejects every division of this model over these GPUs.")
    if not request.context:
        whose = (
            "the model's own limit"
            if model.max_context
            else "assumed, because the configuration gives no limit"
        )
        found.append(f"The context is {context} tokens ({whose}); --context sets a shorter one.")
    if smaller is not None:
        found.append(_too_small(smaller, request))
    found += _shape(request, best)
    found += _replicated(model, best)
    found += _odd(planner, best)
    found += _hardware(model, request, best)
    if best.batch not in (planner.usual_batch, planner.batch):
        found.append(
            f"It needs --max-num-batched-tokens {best.batch.tokens} --max-num-seqs {best.batch.requests}."
        )
    if best.verdict == "within-error":
        found += _wider(planner, best, alternatives)
    if best.verdict == "does-not-fit":
        found.append(_lack(best))
    return tuple(found)


def _wider(planner: Planner, best: Choice, alternatives: tuple[Choice, ...]) -> list[str]:
    """What makes room beyond the error of the estimate."""
    request, memory = planner.request, best.memory
    sure = best.sure_blocks
    found = []
    longest = best.cache.tokens(sure, request.concurrency, planner.context) if sure > 1 else 0
    if longest:
        found.append(f"--context {longest} fits with the error included.")
    many = best.cache.requests(sure, planner.context) if sure > 1 else 0
    if 0 < many < request.concurrency:
        found.append(f"So do {many} concurrent requests of {planner.context} tokens.")
    if more := [choice for choice in alternatives if choice.verdict == "fits" and choice.gpus > best.gpus]:
        found.append(f"So does {min(more, key=lambda choice: choice.gpus).label}.")
    if memory.graphs:
        size = memory.graphs / GIB
        found.append(
            f"VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=0 leaves the {size:.1f} GiB of CUDA graphs to what "
            "vLLM does not use."
        )
    return found


def _replicated(model: Architecture, best: Choice) -> list[str]:
    """Where TP does not divide the cache."""
    tp = best.tensor_parallel
    if tp <= 1 or not best.cache.groups:
        return []
    if model.latent:
        what = f"Latent attention is not divided: each of the {tp} TP ranks caches the whole of every token."
        return [f"{what} PP divides the cache by layers, --data-parallel-size by requests."]
    if 0 < model.kv_heads < tp:
        heads = "1 KV head" if model.kv_heads == 1 else f"{model.kv_heads} KV heads"
        what = f"{heads} over TP {tp}: each is cached {tp // model.kv_heads} times."
        return [f"{what} A smaller TP with PP, or replicas, can cache more tokens."]
    return []


def _odd(planner: Planner, best: Choice) -> list[str]:
    """Nodes whose GPUs no TP can use together, where fewer of them could be."""
    each = max((*planner.request.node_gpus, 0)) or planner.request.gpus_per_node
    if planner.request.tensor_parallel or is_power_of_two(each) or best.gpus_per_node < each:
        return []
    even = 1 << (each.bit_length() - 1)
    if best.tensor_parallel >= even or planner.refusals(even, 1):
        return []
    what = f"TP cannot use the {each} GPUs of a node together"
    return [f"{what}; with {even} of them (--gpus-per-node {even}) TP {even} is possible."]


def _shape(request: Request, best: Choice) -> list[str]:
    found = []
    if best.nodes > 1 and not best.crosses:
        found.append(
            f"TP {best.tensor_parallel} stays inside a node; PP {best.pipeline_parallel} crosses nodes."
        )
    if best.crosses:
        found.append(f"TP {best.tensor_parallel} spans nodes, because vLLM rejects every TP within one node.")
    if len(set(request.node_gpus)) > 1:
        counts = ", ".join(map(str, sorted(request.node_gpus, reverse=True)))
        found.append(
            f"Nodes have {counts} GPUs; all ranks of a group need the same count, {best.gpus_per_node} here."
        )
    if EXECUTORS[request.executor].node_per_stage and best.pipeline_parallel > 1:
        pods, each = best.pipeline_parallel, best.tensor_parallel
        found.append(
            f"With {request.executor}, KServe creates {pods} pods with {each} GPUs each, one per stage."
        )
    return found


def _too_small(smaller: Choice, request: Request) -> str:
    """Why not less."""
    if smaller.fits:
        left, error = smaller.memory.left / GIB, smaller.memory.error / GIB
        return f"{smaller.label} would have {left:.1f} GiB left, give or take {error:.1f}."
    if smaller.max_context:
        many = f" for {request.concurrency} concurrent requests" if request.concurrency > 1 else ""
        return f"{smaller.label} has room for only {smaller.max_context} tokens{many}."
    lack = -smaller.memory.left / GIB
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
        found.append(
            f"{gpu.name} cannot multiply FP8: weights stay FP8 in memory and are converted in every step."
        )
    if best.tensor_parallel > 1 and gpu.link_gbs and gpu.link_gbs < _FAST_LINK:
        found.append(
            f"{gpu.name} sends {gpu.link_gbs:g} GB/s to its peers; TP uses this link in every layer."
        )
    return found


def _lack(best: Choice) -> str:
    lack = -best.memory.left / GIB
    if best.memory.for_cache <= 0:
        return f"The weights alone do not fit: {lack:.1f} GiB are missing on the fullest GPU."
    if best.max_context:
        return f"{lack:.1f} GiB are missing; a context of {best.max_context} tokens would fit."
    return f"{lack:.1f} GiB are missing on the fullest GPU; no context fits this concurrency."

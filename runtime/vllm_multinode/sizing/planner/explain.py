"""Every formula with its numbers, so that a plan can be checked by hand."""

from collections import Counter
from collections.abc import Iterator

from vllm_multinode.checkpoint.stages import layer_split
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.layers import Attention, Experts, LatentAttention
from vllm_multinode.sizing.planner.choice import Choice, Plan
from vllm_multinode.sizing.planner.compressed_cache import ENTRY_BYTES
from vllm_multinode.sizing.planner.kv_cache import number_bytes
from vllm_multinode.sizing.planner.latent_cache import latent_entry
from vllm_multinode.sizing.planner.profiling import GIB, MIB, runs_on_v2, sampler_bytes


def explain(plan: Plan) -> str:
    """The arithmetic of the best choice, in the order in which it was done."""
    best = plan.best
    if best is None:
        return "vLLM rejects every division, so there is nothing to compute.\n"
    model = plan.request.source.model
    sections = (
        ("Model", _model(plan, model)),
        ("Weights", _weights(plan, model, best)),
        ("KV cache", _cache(plan, model, best)),
        ("Other parts (estimates)", _rest(plan, model, best)),
        ("Sum on the fullest GPU", _sum(plan, best)),
        ("Bounds on time", _time(plan, model, best)),
    )
    return "\n".join("\n".join([title, *(f"  {line}" for line in lines), ""]) for title, lines in sections)


def _model(plan: Plan, model: Architecture) -> Iterator[str]:
    name = f"{model.name or 'unnamed'} ({model.model_type or 'no model_type'})"
    yield f"{name}, {len(model.layers)} layers, width {model.hidden}"
    yield f"vocabulary {model.vocabulary}, embedding and head {'tied' if model.tied else 'separate'}"
    kinds = Counter(_kind(mixer) for layer in model.layers for mixer in layer.mixers)
    yield "mixers: " + ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    blocks = Counter(_block(layer.mlp) for layer in model.layers if layer.mlp)
    yield "feed-forward: " + ", ".join(f"{count} x {kind}" for kind, count in blocks.items())
    if model.quantization.method:
        forms = ", ".join(f"{scheme.form} {scheme.bits} bits" for _, scheme in model.quantization.schemes)
        kept = len(model.quantization.skipped)
        method = model.quantization.method
        yield f"quantisation {method}: {forms or 'none'}; {kept} modules excluded"
    how = (
        "counted from the safetensors headers"
        if plan.request.source.exact
        else "derived from the configuration"
    )
    yield f"weights are {how}"


def _kind(mixer: object) -> str:
    if isinstance(mixer, LatentAttention):
        return f"MLA ({mixer.heads} heads, latent {mixer.kv_rank} + {mixer.rope_dim})"
    if isinstance(mixer, Attention):
        reach = (
            f", window {mixer.window}" if mixer.window else f", chunk {mixer.chunk}" if mixer.chunk else ""
        )
        return f"attention ({mixer.heads} heads, {mixer.kv_heads} KV heads of {mixer.head_dim}{reach})"
    return type(mixer).__name__


def _block(block: object) -> str:
    if isinstance(block, Experts):
        shared = f", shared {block.shared}" if block.shared else ""
        return f"experts ({block.active} of {block.routed}, each {block.expert.intermediate} wide{shared})"
    return f"dense ({getattr(block, 'intermediate', 0)} wide)"


def _weights(plan: Plan, model: Architecture, best: Choice) -> Iterator[str]:
    tp, pp = best.tensor_parallel, best.pipeline_parallel
    cut = plan.request.source.cut(tp)
    yield f"in the files: {_gib(cut.checkpoint)} ({cut.checkpoint / 1e9:.2f} GB)"
    sizes = ", ".join(map(str, layer_split(len(model.layers), pp)))
    yield f"layers per stage: {sizes} (vLLM's get_pp_indices)"
    head = " (tied: loaded on the first and the last stage)" if model.tied else ""
    table = _gib(cut.embedding.loaded)
    yield f"on one of {tp} TP ranks: embedding {table}, head {_gib(cut.head.loaded)}{head}"
    if cut.towers.loaded:
        yield f"towers, on every stage: {_gib(cut.towers.loaded)}"
    if cut.drafts.stored:
        yield f"multi-token prediction, in the files and not loaded: {_gib(cut.drafts.stored)}"
    for part, count in Counter(cut.layers).items():
        loaded, stored = part.loaded / MIB, part.stored / MIB
        yield f"{count} layers of {loaded:.2f} MiB per rank, {stored:.2f} MiB in total"
    for number, (stage, one) in enumerate(zip(best.stages, best.memories, strict=True)):
        beside = one.weights - stage.loaded
        yield f"stage {number + 1}: {_gib(stage.loaded)} per GPU, and {_gib(beside)} of tables and padding"


def _cache(plan: Plan, model: Architecture, best: Choice) -> Iterator[str]:
    cache, request = best.cache, plan.request
    if not cache.groups:
        yield "no layer keeps keys or values"
        return
    tp = best.tensor_parallel
    yield f"dtype {request.kv_dtype}, blocks of {cache.block_tokens} tokens"
    first = next(
        (m for layer in model.layers for m in layer.mixers if isinstance(m, Attention | LatentAttention)),
        None,
    )
    width = number_bytes(model, request.kv_dtype)
    if isinstance(first, LatentAttention):
        engine = request.engine
        each = latent_entry(first, tp, width, engine.device, engine.version)
        numbers = first.kv_rank + first.rope_dim
        formula = f"({first.kv_rank} + {first.rope_dim}) x {width}"
        formula = formula if each == numbers * width else "packed by fp8_ds_mla"
        yield f"a token in one MLA layer: {formula} = {each} bytes on every TP rank"
    elif first is not None and first.compression:
        yield f"one compressed entry in one layer: {ENTRY_BYTES} bytes on every TP rank"
    elif first is not None:
        heads = max(1, first.kv_heads // tp)
        each = heads * (first.head_dim + first.v_head_dim) * width
        yield (
            f"a token in one layer: max(1, {first.kv_heads} / {tp}) x"
            f" ({first.head_dim} + {first.v_head_dim}) x {width} = {each} bytes per rank"
        )
    for number, size in enumerate(cache.stage_block_bytes):
        yield f"stage {number + 1}: {size} bytes per block, {cache.stage_token_bytes[number]} bytes per token"
    held = cache.blocks(plan.context)
    rules = Counter(page.rule for page in cache.groups)
    drawn = ", ".join(f"{count} {rule}" for rule, count in rules.items())
    yield f"groups of layers that use blocks: {drawn}"
    many = request.concurrency
    yield f"a request of {plan.context} tokens uses {held} blocks; {many} at a time, and a spare block:"
    size = cache.stage_block_bytes[best.stage]
    yield f"({held} x {request.concurrency} + 1) x {size} bytes = {_gib(best.memory.kv_cache)}"


def _rest(plan: Plan, model: Architecture, best: Choice) -> Iterator[str]:
    batch, version, one = best.batch, plan.request.settings.version, best.memory
    parts = one.profile.parts
    runner = "second" if runs_on_v2(model, version) else "first"
    yield f"vLLM {version.name}, {runner} model runner: one step holds {batch.tokens} tokens"
    yield f"(max_num_batched_tokens) and {batch.requests} requests (max_num_seqs)"
    yield f"widest block over all tokens: {_gib(parts.step)}"
    each = sampler_bytes(model, version)
    yield (
        f"sampler: {batch.requests} requests x {model.vocabulary} x {each} bytes, and hidden states:"
        f" {_gib(parts.sampling)}"
    )
    if parts.towers:
        yield f"towers while they encode: {_gib(parts.towers)}; images that wait: {_gib(parts.waiting)}"
    if parts.experts:
        yield f"buffers of the experts, always allocated: {_gib(parts.experts)}"
    if parts.counts:
        yield f"vocabulary counts of all requests: {_gib(parts.counts)}"
    yield f"activations: the largest of these, and what is always allocated: {_gib(one.activations)}"
    layers = layer_split(len(model.layers), best.pipeline_parallel)[best.stage]
    taken = "taken from the cache" if one.profile.graphs_deducted else "not taken from the cache"
    yield f"CUDA graphs of {layers} layers: {_gib(one.profile.graphs)}, {taken}"
    yield f"runtime, NCCL and all-reduce of TP {best.tensor_parallel}: {_gib(one.reserve)}"
    if one.allowance:
        yield f"for memory that is not modelled: {_gib(one.allowance)}"
    yield f"error of the whole estimate: {_gib(one.error)}"


def _sum(plan: Plan, best: Choice) -> Iterator[str]:
    one = best.memory
    yield f"usable: {plan.request.utilization:g} x {_gib(one.total)} = {_gib(one.usable)}"
    taken = [one.weights, one.activations, one.graphs, one.reserve, *filter(None, [one.allowance])]
    parts = " + ".join(map(_gib, taken))
    yield f"{parts} = {_gib(one.fixed)}"
    room = f"{_gib(one.usable)} - {_gib(one.fixed)}"
    yield f"for the cache: {room} = {_gib(one.for_cache)}, {best.blocks} blocks"
    yield f"left: {_gib(one.left)}"


def _time(plan: Plan, model: Architecture, best: Choice) -> Iterator[str]:
    gpu, speed = plan.request.gpu, best.speed
    yield f"load: the files of a node's stages / {plan.request.claim_gbs:g} GB/s = {speed.load_seconds:.0f} s"
    active = sum(part.active for part in best.stages)
    if gpu.bandwidth_gbs:
        yield f"one token reads {_gib(active)} per TP rank, stage after stage, at {gpu.bandwidth_gbs:g} GB/s"
        yield "plus the cache of its request"
        if best.tensor_parallel > 1 and gpu.link_gbs:
            yield f"and sends 2 all-reduces of {model.hidden} numbers in each of {len(model.layers)} layers"
    if experts := next((layer.experts for layer in model.layers if layer.experts), None):
        chance = f"1 - (1 - {experts.active} / {experts.routed})^n"
        yield f"n tokens in one step read the shared weights once and {experts.routed} x ({chance}) experts"
    for bound in speed.bounds:
        yield f"so one request of {bound.context} tokens gets at most {bound.one:.3g} tokens/s"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"

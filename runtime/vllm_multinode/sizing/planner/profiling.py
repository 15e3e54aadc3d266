"""What vLLM's profiling run finds beside weights: the peak of a step, buffers that stay, NCCL and runtime.

The formulas follow gpu_worker.py (determine_available_memory) and gpu_model_runner.py (profile_run); each
function names where its part stands. What no source tells stands in fitted.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vllm_multinode.engines.vllm import Vllm
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.layers import Attention, Dense, Experts, LatentAttention
from vllm_multinode.sizing.model.weights import VOCABULARY_PADDING
from vllm_multinode.sizing.planner.fitted import FITTED, Fitted
from vllm_multinode.sizing.planner.loading import BLACKWELL, HOPPER, Device

GIB = 1 << 30
MIB = 1 << 20
# The second runner has the logits alone when it profiles.
_LOGITS_ALONE = 2
# Counts of the second runner (penalties.py): an integer of four bytes and a bit.
_COUNTS = 4 + 1 / 8
# topk_topp_triton.py keeps a row of four bytes for every multiprocessor.
_MULTIPROCESSORS, _ROW = 132, 4
# fused_moe.py works on at most so many tokens at a time.
_EXPERT_TOKENS = 16384
# mla_attention.py: tokens of context that are decompressed at a time.
_LATENT_CONTEXT = 65536


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step of the engine may hold.

    Attributes:
        tokens: max_num_batched_tokens.
        requests: max_num_seqs.
    """

    tokens: int
    requests: int


@dataclass(frozen=True, slots=True)
class Activations:
    """Bytes of the peak of a step; towers, the language model's layers and the sampler take turns.

    Attributes:
        step: the widest block over all tokens.
        sampling: logits and what the sampler makes of them, beside the hidden states.
        towers: of images, while they are encoded.
        waiting: encoded images, while the language model runs.
        experts: buffers of the experts that stay.
        counts: of the vocabulary, which the second runner keeps for every request.
        workspace: of cuBLAS.
    """

    step: int
    sampling: int
    towers: int
    waiting: int
    experts: int
    counts: int
    workspace: int

    @property
    def peak(self) -> int:
        """The most at any time, with what stays."""
        one_by_one = max(self.step + self.waiting, self.sampling + self.waiting, self.towers)
        return one_by_one + self.experts + self.counts + self.workspace


@dataclass(frozen=True, slots=True)
class Profile:
    """Bytes on one rank of one stage.

    Attributes:
        parts: of the peak of one step.
        graphs: CUDA graphs.
        graphs_deducted: whether the engine takes them from the cache.
        reserve: the runtime, NCCL and all-reduce.
        uneven: by which they are more on another rank of the stage than on the first.
    """

    parts: Activations
    graphs: int
    graphs_deducted: bool
    reserve: int
    uneven: int = 0


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine as it is started.

    Attributes:
        version: its behaviours.
        device: what it runs on.
        eager: without CUDA graphs.
        text_only: without towers.
        fitted: constants that start logs tell.
    """

    version: Vllm
    device: Device = field(default_factory=Device)
    eager: bool = False
    text_only: bool = False
    fitted: Fitted = FITTED


def profile(
    model: Architecture, layers: int, tp: int, staged: bool, last: bool, batch: Batch, *, engine: Engine
) -> Profile:
    """What the engine would find on a rank of one stage.

    Args:
        model: the model.
        layers: of the stage.
        tp: tensor parallel size.
        staged: whether there are several stages.
        last: whether it is the last one, which samples.
        batch: of one step.
        engine: as it is started.
    """
    version = engine.version
    deducted = version.deducts_graphs
    if runs_on_v2(model, version):
        deducted = version.runner_v2_estimates_graphs
    if engine.device.family == "rocm":
        deducted = version.deducts_graphs_on_rocm
    return Profile(
        parts=_activations(model, tp, batch, engine, staged=staged, last=last),
        graphs=0 if engine.eager else round(_graphs(model, layers, engine)),
        graphs_deducted=deducted,
        reserve=round(_reserve(tp, engine, staged=staged)),
        uneven=round(engine.fitted.rocm_uneven.get(tp, 0.0) * GIB) if engine.device.family == "rocm" else 0,
    )


def runs_on_v2(model: Architecture, version: Vllm) -> bool:
    """Whether the second model runner serves the model (vLLM's config/vllm.py: use_v2_model_runner)."""
    if version.runner_v2 == "dense":
        return not model.experts and not model.recurrent
    return version.runner_v2 == "everything"


def _activations(
    model: Architecture, tp: int, batch: Batch, engine: Engine, *, staged: bool, last: bool
) -> Activations:
    buffers = _expert_workspace(model, tp, batch, engine)
    kept = buffers if _keeps_workspace(model, engine) else 0.0
    sampling = counts = 0.0
    if last:
        sampling = _sampling(model, batch, engine)
        if runs_on_v2(model, engine.version) and engine.version.measures_free_memory:
            counts = batch.requests * _up(model.vocabulary) * _COUNTS
    waiting, towers = (0.0, 0.0) if engine.text_only else _encoder(model, tp, batch)
    return Activations(
        step=round(_step(model, tp, batch, buffers - kept, engine.fitted, staged=staged)),
        sampling=round(sampling),
        towers=round(towers),
        waiting=round(waiting),
        experts=round(kept),
        counts=round(counts),
        workspace=round(engine.fitted.workspace * GIB),
    )


def sampler_bytes(model: Architecture, version: Vllm, fitted: Fitted = FITTED) -> float:
    """Bytes that the sampler holds for each number of the vocabulary of each request."""
    if runs_on_v2(model, version):
        return _LOGITS_ALONE
    return fitted.sorted_sampling if version.sorts_to_sample else fitted.sampling


def _sampling(model: Architecture, batch: Batch, engine: Engine) -> float:
    """Bytes of logits for all requests and of what is made of them (_dummy_sampler_run)."""
    version, padded = engine.version, _up(model.vocabulary)
    each = sampler_bytes(model, version, engine.fitted)
    masks = not runs_on_v2(model, version) and not version.sorts_to_sample
    rows = min(_MULTIPROCESSORS, batch.requests) * padded * _ROW if masks else 0
    return batch.requests * padded * each + rows + batch.tokens * model.hidden * model.dtype_bytes


def _up(vocabulary: int) -> int:
    return -(-vocabulary // VOCABULARY_PADDING) * VOCABULARY_PADDING


def _keeps_workspace(model: Architecture, engine: Engine) -> bool:
    """Whether the buffers of the experts stay."""
    kept = engine.version.keeps_expert_workspace
    if kept == "fp8":
        forms = {scheme.form for _, scheme in model.quantization.schemes}
        return engine.device.family == "cuda" and bool(forms & {"fp8", "fp8-block"})
    return kept == "yes"


def _step(
    model: Architecture, tp: int, batch: Batch, experts: float, fitted: Fitted, *, staged: bool
) -> float:
    """Bytes of the widest block over all tokens, with what lives beside it."""
    blocks = {id(layer.mlp): layer.mlp for layer in model.layers if layer.mlp}.values()
    mixers = {id(mixer): mixer for layer in model.layers for mixer in layer.mixers}.values()
    stream = fitted.stream + (fitted.handed_on if staged else 0)
    inside = [float(_width(block, tp)) for block in blocks]
    inside += [
        mixer.heads * (2 * mixer.head_dim + mixer.v_head_dim) / tp
        for mixer in mixers
        if isinstance(mixer, Attention)
    ]
    # Hyper-connections: each stream as it comes and as it goes, and what drafts would read (deepseek_v4.py).
    stream += (2 * (model.streams - 1) + model.streams) if model.streams > 1 else 0
    step = batch.tokens * (stream * model.hidden + max(inside, default=0.0)) * model.dtype_bytes
    latent = max(
        (_decompressed(mixer, tp) for mixer in mixers if isinstance(mixer, LatentAttention)), default=0
    )
    return step + max(latent * model.dtype_bytes, experts)


def _width(block: Dense | Experts, tp: int) -> float:
    """Numbers that a token needs inside a feed-forward block on one rank: its widened inputs and product."""
    if isinstance(block, Experts):
        return 3 * max(block.shared, block.dense) / tp
    return (3 if block.gated else 2) * block.intermediate / tp


def _decompressed(mixer: LatentAttention, tp: int) -> int:
    """Numbers of the keys and values of a long context, which profiling takes as the worst case."""
    return _LATENT_CONTEXT * max(1, mixer.heads // tp) * (mixer.nope_dim + mixer.v_head_dim)


def _expert_workspace(model: Architecture, tp: int, batch: Batch, engine: Engine) -> float:
    """Bytes of the two buffers between an expert's matrices (workspace_shapes of the experts' classes)."""
    index, block = next(
        ((number, layer.experts) for number, layer in enumerate(model.layers) if layer.experts), (0, None)
    )
    if block is None:
        return 0.0
    scheme = model.quantization.scheme(f"model.layers.{index}.mlp.experts.0.up_proj")
    form = scheme.form if scheme else ""
    on_cuda, gated = engine.device.family == "cuda", block.expert.gated
    hidden, inside = block.latent or model.hidden, block.expert.intermediate / tp
    both = inside * (2 if gated else 1)
    rows = min(batch.tokens, _EXPERT_TOKENS) * block.active
    if form in ("awq", "gptq", "packed", "nvfp4") or (form == "fp8" and not gated and on_cuda):
        return 0.0
    if form == "mxfp4":
        triton = engine.version.mxfp4_on_hopper_by_triton and engine.device.is_hopper
        return 0.0 if triton or not on_cuda else rows * (max(both, hidden) + inside) * model.dtype_bytes
    if form == "fp8-block" and on_cuda and engine.device.capability >= BLACKWELL:
        return 0.0
    return rows * (max(inside, hidden) + max(both, hidden)) * model.dtype_bytes


def _encoder(model: Architecture, tp: int, batch: Batch) -> tuple[float, float]:
    """Bytes of images that wait for the language model, and of the tower while it works on them.

    The budget is the larger of a batch and the greatest item (encoder_cache_manager.py); what comes out
    lives while the language model is profiled, beside the inputs that it is merged into.
    """
    by_name = {weight.name: weight for weight in model.towers}
    into, out = by_name.get("visual.blocks.mlp.fc1"), by_name.get("visual.blocks.mlp.fc2")
    if into is None or out is None:
        return 0.0, 0.0
    deep = by_name.get("visual.deepstack.mlp.0")
    vectors = (1 + (deep.copies if deep else 0)) * model.hidden * model.dtype_bytes
    budget = max(batch.tokens, model.greatest_item)
    numbers = max(6 * into.into, 2 * into.into + (into.out + out.into) / tp)
    working = budget * model.patches_per_token * numbers * model.dtype_bytes
    waiting = (budget + batch.tokens) * vectors
    return waiting, working + budget * vectors


def _graphs(model: Architecture, layers: int, engine: Engine) -> float:
    """Bytes of CUDA graphs: of the capture, and of every layer, for all sizes that are captured."""
    fitted, device = engine.fitted, engine.device
    each = fitted.graphs_of_latent_layer if model.latent else fitted.graphs_of_layer
    times = fitted.rocm_graphs if device.family == "rocm" else fitted.unified_graphs if device.unified else 1
    return (fitted.graphs + layers * each) * times * GIB


def _reserve(tp: int, engine: Engine, *, staged: bool) -> float:
    """Bytes that are not torch's: CUDA's or HIP's modules, NCCL's buffers, workspaces of all-reduce."""
    fitted = engine.fitted
    if engine.device.family == "rocm":
        return _of_ranks(fitted.rocm_all_reduce, tp) if tp > 1 else fitted.rocm_runtime * GIB
    unified = fitted.unified * GIB if engine.device.unified else 0
    if tp > 1:
        fused = _fuses_all_reduce(engine, staged=staged)
        return unified + _of_ranks(fitted.fused_all_reduce if fused else fitted.all_reduce, tp)
    return unified + (fitted.runtime_of_stages if staged else fitted.runtime) * GIB


def _fuses_all_reduce(engine: Engine, *, staged: bool) -> bool:
    """Whether all-reduce and norm are one kernel, with buffers of its own (config/vllm.py)."""
    when, capability = engine.version.fused_all_reduce, engine.device.capability
    has_kernel = capability == HOPPER or BLACKWELL <= capability < BLACKWELL + 1
    return has_kernel and not engine.eager and (when == "always" or (when == "one-stage" and not staged))


def _of_ranks(table: Mapping[int, float], tp: int) -> float:
    """The figure of the next larger group that was seen."""
    return next((gib for ranks, gib in table.items() if tp <= ranks), table[max(table)]) * GIB

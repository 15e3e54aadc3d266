"""What one GPU holds, part by part; the formulas are estimates where `ESTIMATED` says so."""

from dataclasses import dataclass

from vllm_multinode.checkpoint.stages import layer_split
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.layers import Dense, Experts
from vllm_multinode.sizing.model.weights import VOCABULARY_PADDING

GIB = 1 << 30
MIB = 1 << 20
# Parts that no configuration tells: they are learnt from what engines report, and differ between versions.
ESTIMATED = ("activations", "graphs", "reserve")

# vLLM's default of gpu_memory_utilization.
UTILIZATION = 0.92
# vLLM's defaults of max_num_batched_tokens and max_num_seqs for a server, by the memory of the GPU.
_BATCH = ((160, 16384, 1024), (70, 8192, 1024), (0, 2048, 256))
SMALL_BATCH = 2048
# CUDA context and libraries; NCCL's buffers and all-reduce's workspaces where ranks talk.
_FRAMEWORK = 600 * MIB
_TENSOR_TALK = 800 * MIB
_PIPELINE_TALK = 200 * MIB
_GRAPHS = 200 * MIB
# Of a layer of this width; a graph keeps its own buffers, which are as wide as the model.
_GRAPHS_LAYER = 8 * MIB
_GRAPHS_WIDTH = 4096


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
class Memory:
    """Bytes of one GPU of one stage.

    Attributes:
        total: as the driver reports it.
        usable: of it, what vLLM takes.
        weights: of the stage on the fullest rank.
        kv_cache: for the context and concurrency asked for.
        activations: the peak of one step.
        graphs: CUDA graphs.
        reserve: framework and NCCL.
    """

    total: int
    usable: int
    weights: int
    kv_cache: int
    activations: int
    graphs: int
    reserve: int

    @property
    def fixed(self) -> int:
        """All but the cache."""
        return self.weights + self.activations + self.graphs + self.reserve

    @property
    def for_cache(self) -> int:
        """What the cache may take."""
        return max(0, self.usable - self.fixed)

    @property
    def left(self) -> int:
        """Of what vLLM takes, what nothing needs; negative where it does not fit."""
        return self.usable - self.fixed - self.kv_cache


def default_batch(memory_gib: float, name: str, context: int, concurrency: int = 1) -> Batch:
    """vLLM's own batch on a GPU of this memory.

    Args:
        memory_gib: of the GPU.
        name: of the GPU; an A100 counts among the smaller ones.
        context: max_model_len; all requests together never bring more tokens than that many each.
        concurrency: requests asked for; max_num_seqs is raised to them.
    """
    tokens, requests = _BATCH[-1][1:]
    for least, tokens, requests in _BATCH:  # noqa: B007 (the last row holds for all that is smaller)
        if memory_gib >= least and not (least == 70 and "A100" in name.upper()):
            break
    requests = max(requests, concurrency)
    return Batch(min(tokens, max(context, 1) * requests), requests)


def stage_memory(
    model: Architecture,
    part: int,
    weights: float,
    *,
    tp: int,
    pp: int,
    total: int,
    utilization: float,
    batch: Batch,
    kv_bytes: int,
) -> Memory:
    """What a GPU of one stage holds.

    Args:
        model: the model.
        part: the stage's number.
        weights: bytes on the stage's fullest rank.
        tp: tensor parallel size.
        pp: pipeline parallel size.
        total: bytes of the GPU.
        utilization: part of it that vLLM may take.
        batch: of one step.
        kv_bytes: of the cache for what was asked.
    """
    layers = layer_split(len(model.layers), pp)[part]
    return Memory(
        total=total,
        usable=int(total * utilization),
        weights=round(weights),
        kv_cache=kv_bytes,
        activations=activations(model, tp, batch, last=part == pp - 1),
        graphs=graphs(model, layers),
        reserve=_FRAMEWORK + (_TENSOR_TALK if tp > 1 else 0) + (_PIPELINE_TALK if pp > 1 else 0),
    )


def graphs(model: Architecture, layers: int) -> int:
    """Bytes of CUDA graphs: some for the capture, and for every layer as much as the model is wide."""
    return _GRAPHS + _GRAPHS_LAYER * layers * max(model.hidden, _GRAPHS_WIDTH) // _GRAPHS_WIDTH


def activations(model: Architecture, tp: int, batch: Batch, *, last: bool) -> int:
    """Bytes of the greatest step: the widest layer over all tokens, the logits of all requests, or images.

    Two vectors of the model's width live throughout (hidden states and residual). A feed-forward block adds
    its widened input and the product of that; experts do so for every expert of a token, and hold each
    expert's output before they are summed. Attention adds queries, keys, values and its output. The last
    stage's logits are whole on every rank, in two bytes and again in four for sampling.
    """
    blocks = {id(layer.mlp): layer.mlp for layer in model.layers if layer.mlp}.values()
    widest = max((_block_width(model, block, tp) for block in blocks), default=0)
    attention = 3 * model.hidden + 2 * model.hidden // tp
    step = batch.tokens * (2 * model.hidden + max(widest, attention)) * model.dtype_bytes
    padded = -(-model.vocabulary // VOCABULARY_PADDING) * VOCABULARY_PADDING
    logits = batch.requests * padded * (model.dtype_bytes + 4) if last else 0
    return max(step, logits, _encoder(model, batch))


def _encoder(model: Architecture, batch: Batch) -> int:
    """Bytes of the vision tower's widest layer over as many patches as make a batch of the language model.

    vLLM profiles it so, with images of the greatest size, and keeps what comes out for the language model.
    """
    by_name = {weight.name: weight for weight in model.towers}
    into, out = by_name.get("visual.blocks.mlp.fc1"), by_name.get("visual.blocks.mlp.fc2")
    if into is None or out is None:
        return 0
    numbers = max(6 * into.into, 2 * into.into + into.out + out.into)
    patches = batch.tokens * model.patches_per_token
    return (patches * numbers + batch.tokens * model.hidden) * model.dtype_bytes


def _block_width(model: Architecture, block: Dense | Experts, tp: int) -> int:
    """Numbers that a token needs inside a feed-forward block on one rank."""
    if isinstance(block, Experts):
        inside = (3 if block.expert.gated else 2) * block.expert.intermediate // tp
        return block.active * (inside + (block.latent or model.hidden)) + 3 * block.shared // tp
    return (3 if block.gated else 2) * block.intermediate // tp + model.hidden

"""Weights counted from the headers of safetensors files, tensor by tensor, told apart by their names."""

import re
from collections.abc import Iterable
from pathlib import Path

from vllm_multinode.checkpoint.safetensors import Tensor, read_header
from vllm_multinode.checkpoint.shards import find_weights
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.layers import LatentAttention
from vllm_multinode.sizing.model.splits import Cut, Part
from vllm_multinode.sizing.model.traits import everywhere
from vllm_multinode.sizing.model.weights import Split, share

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer)\.(\d+)\.(.*)$")
_TOWER = re.compile(
    r"^(?:model\.)?(?:visual|vision|audio|multi_modal|mm_|embed_vision|embed_audio|image|thinker\.(?:visual|audio)|mlp1)"
)
_EMBEDDING = re.compile(r"(?:embed_tokens|wte|word_embeddings|tok_embeddings|embedding)\.weight$")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output)\.")
_DRAFT = re.compile(r"(?:^|\.)(?:mtp|nextn|draft)\b")
_ROWS = re.compile(
    r"(?:o_proj|down_proj|out_proj|fc2|w2|dense_4h_to_h|c_proj|self_attention\.dense|attn\.proj)\b"
)
_KV = re.compile(r"(?:self_attn|attention|attn)\.(?:k_proj|v_proj|wk|wv|k_norm)\b")
_WHOLE = re.compile(
    r"(?:norm|layernorm|ln_\w+|kv_a_proj_with_mqa|q_a_proj|(?:mlp|moe)\.(?:gate|router)\b|block_sparse_moe\.gate\b"
    r"|shared_expert_gate|g_idx|input_scale|weight_scale_2|weight_shape|indexer|rotary|inv_freq|e_score_correction)"
)


def read_tensors(folder: Path) -> tuple[Tensor, ...]:
    """Every tensor of a model folder; empty where there is no safetensors file.

    Raises:
        MultinodeError: MODEL_CONFIG, SHARD_ABSENT or SHARD_TRUNCATED, where index, files and headers
            contradict each other.
    """
    listing = [path.name for path in folder.iterdir()]
    if not any(name.endswith(".safetensors") for name in listing):
        return ()
    files = find_weights(folder, listing).names
    return tuple(tensor for name in files for tensor in read_header(folder / name).tensors())


def cut_tensors(tensors: Iterable[Tensor], model: Architecture, tp: int) -> Cut:
    """Cut the tensors of a checkpoint for one tensor parallel size.

    Layers behind the model's own are its multi-token prediction.
    """
    count = len(model.layers)
    parts: dict[str, Part] = dict.fromkeys(("embedding", "first", "last", "head", "towers", "drafts"), Part())
    layers = [Part()] * count
    for tensor in tensors:
        place, index = _place(tensor.name, count)
        split, heads = _split(tensor, place, model)
        loaded = share(tensor.bytes, split, tp, heads, tensor.shape[0] if tensor.shape else 1)
        fraction = _used(tensor.name, model, index)
        part = Part(loaded, tensor.bytes, loaded * fraction, loaded if ".experts." in tensor.name else 0.0)
        if place == "layer":
            layers[index] = layers[index] + part
        else:
            parts[place] = parts[place] + part
    if not parts["head"].stored:
        # Tied: the last stage loads the table once more, unless it has it already.
        parts["head"] = Part(parts["embedding"].loaded, 0.0, parts["embedding"].loaded)
    layers = [part + _absorbed(model, index, tp) for index, part in enumerate(layers)]
    embedding = parts["embedding"]
    return Cut(
        Part(embedding.loaded, embedding.stored),
        parts["first"],
        parts["last"],
        parts["head"],
        parts["towers"],
        tuple(layers),
        parts["drafts"],
        everywhere(model.model_type),
    )


def _place(name: str, count: int) -> tuple[str, int]:
    if _TOWER.search(name):
        return "towers", -1
    if _DRAFT.search(name):
        return "drafts", -1
    if found := _LAYER.search(name):
        index = int(found[1])
        return ("layer", index) if index < count else ("drafts", -1)
    if _EMBEDDING.search(name):
        return "embedding", -1
    if _HEAD.search(name):
        return "head", -1
    return ("first" if "position" in name or "wpe" in name else "last"), -1


def _split(tensor: Tensor, place: str, model: Architecture) -> tuple[Split, int]:
    name = tensor.name
    if place in ("embedding", "head"):
        return ("vocabulary" if len(tensor.shape) > 1 else "divided"), 0
    if place in ("first", "last", "drafts"):
        return "replicated", 0
    if _WHOLE.search(name):
        return "replicated", 0
    if _KV.search(name) and not model.latent:
        return "heads", model.kv_heads
    if name.endswith(".bias") and _ROWS.search(name):
        return "replicated", 0
    return "divided", 0


def _used(name: str, model: Architecture, index: int) -> float:
    """Part of a tensor's bytes that one token uses."""
    if index < 0 or ".experts." not in name:
        return 1.0
    experts = model.layers[index].experts
    return experts.active / experts.routed if experts else 1.0


def _absorbed(model: Architecture, index: int, tp: int) -> Part:
    """What the engine derives from latent attention's weights and keeps beside them."""
    derived = [
        weight
        for mixer in model.layers[index].mixers
        if isinstance(mixer, LatentAttention)
        for weight in mixer.weights(model.hidden)
        if not weight.stored
    ]
    return Part(loaded=sum(weight.elements for weight in derived) * model.dtype_bytes / tp)


def contradictions(tensors: Iterable[Tensor], model: Architecture, config_bytes: float) -> tuple[str, ...]:
    """Sentences about where the files and the configuration disagree.

    Args:
        tensors: of the checkpoint.
        model: of the configuration.
        config_bytes: bytes that the configuration makes expect.
    """
    found, highest, rows, stored = [], -1, {}, 0
    for tensor in tensors:
        stored += tensor.bytes
        place, _ = _place(tensor.name, 1 << 30)
        if place == "layer" and (match := _LAYER.search(tensor.name)):
            highest = max(highest, int(match[1]))
        if place == "embedding" and tensor.shape:
            rows[tensor.name] = tensor.shape
    if 0 <= highest < len(model.layers) - 1:
        found.append(f"num_hidden_layers is {len(model.layers)}, the files hold {highest + 1} layers.")
    for name, shape in rows.items():
        if shape != (model.vocabulary, model.hidden):
            found.append(
                f"{name} is {list(shape)} where vocab_size x hidden_size is "
                f"{[model.vocabulary, model.hidden]}."
            )
    if stored and config_bytes and not 0.97 < stored / config_bytes < 1.03:
        found.append(
            f"the files hold {stored / 1e9:.2f} GB, the configuration makes expect {config_bytes / 1e9:.2f}."
        )
    return tuple(found)

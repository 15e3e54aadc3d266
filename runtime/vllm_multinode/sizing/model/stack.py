"""The stack of layers: what each of them is made of."""

from dataclasses import dataclass
from typing import Any

from vllm_multinode.checkpoint.config import HIDDEN, LAYERS
from vllm_multinode.sizing.model import blocks
from vllm_multinode.sizing.model.fields import MOST_LAYERS, Fields
from vllm_multinode.sizing.model.layers import Attention, Dense, Experts, LatentAttention
from vllm_multinode.sizing.model.patterns import Kind, expert_layers
from vllm_multinode.sizing.model.per_layer import LayerFields
from vllm_multinode.sizing.model.recurrent import Recurrent
from vllm_multinode.sizing.model.traits import Traits
from vllm_multinode.sizing.model.weights import Weight

Mixer = Attention | LatentAttention | Recurrent


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer.

    Attributes:
        mixers: attention, a recurrence, or both side by side.
        mlp: what follows; None without.
        extra: weights that belong to neither.
    """

    mixers: tuple[Mixer, ...]
    mlp: Dense | Experts | None
    extra: tuple[Weight, ...] = ()

    @property
    def experts(self) -> Experts | None:
        """The mixture of experts, where the layer has one."""
        return self.mlp if isinstance(self.mlp, Experts) else None


def layer_count(text: Fields) -> int:
    """As many as the configuration says, or as its list of layers has."""
    listed = text.listed("layers_block_type", "layer_types")
    pattern = text.text("hybrid_override_pattern").replace("|", "")
    length = len(listed) or len(pattern)
    return text.count(*LAYERS, default=length or None, most=MOST_LAYERS)


def build_layers(text: Fields, traits: Traits, kinds: tuple[Kind, ...]) -> tuple[Layer, ...]:
    """Every layer in order; equal ones are one object.

    Raises:
        MultinodeError: MODEL_CONFIG, with the field's name.
    """
    count = len(kinds)
    fields = LayerFields(text, count)
    # Some classes have a default number of experts that their dense members do not use.
    routed = fields.most(*blocks.EXPERTS) if _has_experts(text) else 0
    sparse = expert_layers(text, count) if routed > 1 else (False,) * count
    made: dict[tuple[Any, ...], Layer] = {}
    shared = text.count("num_kv_shared_layers", default=0, least=0)
    layers = []
    for index, kind in enumerate(kinds):
        own = fields.of(index, kind)
        # One expert is none: the layer is dense.
        has_experts = sparse[index] and own.count(*blocks.EXPERTS, least=0, most=1 << 20) > 1
        key = (
            kind,
            has_experts,
            id(own),
            shared and index >= count - shared,
            _mark(text, index),
            blocks.indexer(text, index),
            blocks.compression(text, index),
        )
        if key not in made:
            made[key] = _layer(own, traits, kind, index, count, sparse=has_experts)
        layers.append(made[key])
    return tuple(layers)


def _has_experts(text: Fields) -> bool:
    return text.says(*blocks.EXPERTS) or "moe" in text.model_type or text.get(*blocks.EXPERTS) is not None


def _mark(text: Fields, index: int) -> str:
    """What the pattern of a Nemotron-H says of the layer: it has either a mixer or a feed-forward block."""
    pattern = text.text("hybrid_override_pattern").replace("|", "")
    if pattern:
        return pattern[index] if index < len(pattern) else ""
    words = text.listed("layers_block_type", "layer_types") if text.model_type == "nemotron_h" else []
    names = {"mlp": "-", "moe": "E", "mamba": "M", "attention": "*"}
    return names.get(str(words[index]), "") if index < len(words) else ""


def _layer(text: Fields, traits: Traits, kind: Kind, index: int, count: int, *, sparse: bool) -> Layer:
    hidden = text.count(*HIDDEN)
    norms = (Weight("norms", hidden * traits.norms * (2 if traits.norm_bias else 1)),) if traits.norms else ()
    extra = norms + _per_layer_inputs(text, hidden)
    mark = _mark(text, index)
    if mark:
        block = blocks.feed_forward(text, traits, experts=mark == "E") if mark in "-E" else None
        return Layer(() if block else (_mixer(text, traits, kind, index, count),), block, extra)
    mixers: tuple[Mixer, ...] = () if kind == "none" else (_mixer(text, traits, kind, index, count),)
    if kind == "both":
        mixers += (blocks.recurrent(text, hidden),)
    if text.model_type in ("mamba", "mamba2", "falcon_mamba"):
        return Layer(mixers, None, extra)
    return Layer(mixers, blocks.feed_forward(text, traits, experts=sparse), extra)


def _mixer(text: Fields, traits: Traits, kind: Kind, index: int, count: int) -> Mixer:
    if kind == "recurrent":
        return blocks.recurrent(text, text.count(*HIDDEN))
    return blocks.attention(text, traits, kind, index, count)


def _per_layer_inputs(text: Fields, hidden: int) -> tuple[Weight, ...]:
    """Gemma's embeddings per layer: a gate into them and a projection out."""
    width = text.count("hidden_size_per_layer_input", default=0, least=0)
    if not width:
        return ()
    return (
        Weight("per_layer_input_gate", width, hidden, linear=True),
        Weight("per_layer_projection", hidden, width, linear=True),
        Weight("post_per_layer_input_norm", hidden),
    )

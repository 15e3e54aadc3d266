"""From a config.json to what sizes depend on: layers by kind, widths, quantisation; guesses are named."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_multinode.checkpoint.config import HIDDEN, LAYERS, NESTED
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.model.fields import MOST, MOST_LAYERS, Fields
from vllm_multinode.sizing.model.layers import Attention, LatentAttention
from vllm_multinode.sizing.model.patterns import layer_kinds
from vllm_multinode.sizing.model.quantization import Quantization, read_quantization
from vllm_multinode.sizing.model.rope import RopeTable, rope_tables
from vllm_multinode.sizing.model.served import in_part, served
from vllm_multinode.sizing.model.stack import Layer, build_layers, layer_count
from vllm_multinode.sizing.model.towers import greatest_item, patches_per_token, tower_weights
from vllm_multinode.sizing.model.traits import Traits, traits_of
from vllm_multinode.sizing.model.weights import Weight

_DTYPES = {
    "float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "float8_e4m3fn": 1, "fp32": 4,
    "fp16": 2, "bf16": 2,
}  # fmt: skip
_CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
    "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
_FLAT = frozenset({"qwen2_vl", "qwen2_5_vl"})
_DRAFTS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers")


@dataclass(frozen=True)
class Architecture:
    """A language model with what hangs on it.

    Attributes:
        name: class name, as the configuration gives it first.
        model_type: of the language model.
        hidden: its width.
        vocabulary: tokens.
        layers: in order.
        heads: query heads of attention layers; 0 without any.
        kv_heads: the fewest of any attention layer.
        tied: whether embedding and output head are one matrix.
        dtype_bytes: of an unquantised number.
        max_context: tokens that it was made for; 0 where the configuration does not say.
        quantization: how linear layers are stored.
        first: weights that only the first stage has, besides the embedding.
        last: weights that only the last stage has, besides the head.
        towers: vision and audio, on every stage.
        rope: tables of positions that the engine computes.
        patches_per_token: of an image, in the vision tower.
        greatest_item: tokens of the largest image that is taken whole; 0 where that is no more than a batch.
        drafts: layers of multi-token prediction, in the checkpoint and not loaded for plain decoding.
        streams: residual streams beside one another (hyper-connections).
        in_part: whether what its layers need is known in part only.
        pipeline: whether vLLM can split it into stages; None where it does not know the architecture.
        guesses: sentences about what the configuration left open.
    """

    name: str
    model_type: str
    hidden: int
    vocabulary: int
    layers: tuple[Layer, ...]
    heads: int
    kv_heads: int
    tied: bool
    dtype_bytes: int
    max_context: int
    quantization: Quantization
    first: tuple[Weight, ...] = ()
    last: tuple[Weight, ...] = ()
    towers: tuple[Weight, ...] = ()
    rope: tuple[RopeTable, ...] = ()
    patches_per_token: int = 1
    greatest_item: int = 0
    drafts: tuple[Layer, ...] = ()
    streams: int = 1
    in_part: bool = False
    pipeline: bool | None = True
    guesses: tuple[str, ...] = ()

    @property
    def experts(self) -> int:
        """The most routed experts of any layer; 0 without any."""
        return max((layer.experts.routed for layer in self.layers if layer.experts), default=0)

    @property
    def latent(self) -> bool:
        """Whether its attention caches latents (MLA)."""
        return any(isinstance(mixer, LatentAttention) for layer in self.layers for mixer in layer.mixers)

    @property
    def recurrent(self) -> bool:
        """Whether any layer keeps a state of constant size."""
        kinds = (Attention, LatentAttention)
        return any(not isinstance(mixer, kinds) for layer in self.layers for mixer in layer.mixers)


def read_architecture(config: Mapping[str, Any], place: str = "config.json") -> Architecture:
    """Read a config.json that has been parsed.

    Raises:
        MultinodeError: MODEL_CONFIG, with the field's name.
    """
    if not isinstance(config, Mapping) or not config:
        raise MultinodeError(
            ExitCode.MODEL_CONFIG, "The configuration is not an object with fields.", where=place
        )
    outer = Fields(config, place)
    text = _language_model(outer)
    layers = layer_count(text)
    kinds, guesses = layer_kinds(text, layers)
    traits = traits_of(text.model_type)
    built = build_layers(text, traits, kinds)
    attentions = [m for layer in built for m in layer.mixers if isinstance(m, Attention | LatentAttention)]
    hidden, vocabulary = text.count(*HIDDEN), _vocabulary(text, outer)
    quantization = read_quantization(outer, text)
    towers, tower_guesses = tower_weights(outer, text, hidden)
    name = _name(outer, text)
    dtype_bytes, dtype_guess = _dtype(outer, text)
    pipeline, unknown = served(name, text, outer, quantization)
    return Architecture(
        name=name,
        model_type=text.model_type,
        hidden=hidden,
        vocabulary=vocabulary,
        layers=built,
        heads=max((mixer.heads for mixer in attentions), default=0),
        kv_heads=min((m.kv_heads if isinstance(m, Attention) else 1 for m in attentions), default=0),
        tied=_tied(outer, text),
        dtype_bytes=dtype_bytes,
        max_context=_context(outer, text),
        quantization=quantization,
        first=_first(text, traits, hidden),
        last=_last(traits, hidden, vocabulary),
        towers=towers,
        rope=_rope(text, attentions),
        patches_per_token=patches_per_token(outer) if towers else 1,
        greatest_item=greatest_item(outer) if towers else 0,
        drafts=(built[-1],) * _drafts(outer, text),
        streams=text.count("hc_mult", default=1),
        in_part=in_part(text.model_type),
        pipeline=pipeline,
        guesses=(*guesses, *quantization.guesses, *tower_guesses, *dtype_guess, *unknown),
    )


def _rope(text: Fields, attentions: list[Attention | LatentAttention]) -> tuple[RopeTable, ...]:
    for mixer in attentions:
        if isinstance(mixer, LatentAttention):
            return rope_tables(text, 0, mixer.rope_dim)
        return rope_tables(text, mixer.head_dim, 0)
    return ()


def _language_model(outer: Fields) -> Fields:
    """The object that describes the language model: the configuration, or one inside it."""
    for name in NESTED:
        inner = outer.inner(name)
        if inner is not None and inner.values:
            return inner if name != "thinker_config" else _language_model(inner)
    # These once kept the language model's fields beside the tower's.
    text_type = f"{outer.model_type}_text"
    if outer.model_type in _FLAT:
        return Fields({**outer.values, "model_type": text_type}, outer.place)
    return outer


def _first(text: Fields, traits: Traits, hidden: int) -> tuple[Weight, ...]:
    found = []
    if traits.positions:
        found.append(Weight("embed_positions", text.count(*_CONTEXT, default=2048), hidden))
    width = text.count("hidden_size_per_layer_input", default=0, least=0)
    if width:
        all_layers = width * text.count(*LAYERS, most=MOST_LAYERS)
        rows = text.count("vocab_size_per_layer_input", default=text.count("vocab_size"))
        found.append(Weight("embed_tokens_per_layer", rows, all_layers, "vocabulary"))
        found.append(Weight("per_layer_model_projection", all_layers, hidden, linear=True))
    return tuple(found)


def _last(traits: Traits, hidden: int, vocabulary: int) -> tuple[Weight, ...]:
    norm = (Weight("norm", hidden * (2 if traits.norm_bias else 1)),)
    return (*norm, Weight("lm_head.bias", vocabulary, 1, "divided")) if traits.head_bias else norm


def _vocabulary(text: Fields, outer: Fields) -> int:
    if text.get("vocab_size", "padded_vocab_size") is None and outer.get("vocab_size") is not None:
        return outer.count("vocab_size")
    return text.count("padded_vocab_size" if text.model_type == "chatglm" else "vocab_size", "vocab_size")


def _tied(outer: Fields, text: Fields) -> bool:
    for holder in (outer, text):
        given = holder.values.get("tie_word_embeddings")
        if given is not None:
            return bool(given)
    return text.flag("tie_word_embeddings")


def _context(outer: Fields, text: Fields) -> int:
    given = [text.count(name, default=0, least=0) for name in _CONTEXT if text.says(name)]
    positive = [length for length in given if length]
    length = min(positive) if positive else text.count(*_CONTEXT, default=0, least=0)
    return _stretched(text, length or outer.count(*_CONTEXT, default=0, least=0))


def _stretched(text: Fields, length: int) -> int:
    """The limit with the factor by which vLLM lets positions be stretched."""
    for name in ("rope_scaling", "rope_parameters"):
        found = text.values.get(name)
        if not isinstance(found, Mapping):
            continue
        kind, factor = found.get("rope_type", found.get("type")), found.get("factor")
        if not isinstance(factor, int | float) or isinstance(factor, bool) or not 1 <= factor <= 1 << 12:
            continue
        if kind in ("yarn", "deepseek_yarn"):
            original = found.get("original_max_position_embeddings")
            base = original if isinstance(original, int) and 0 < original <= MOST else length
            # Configurations that state the stretched limit already name the original one as well.
            return max(length, int(base * factor))
        if kind in ("linear", "dynamic") and not text.model_type.startswith("gemma3"):
            return int(length * factor)
    return length


def _dtype(outer: Fields, text: Fields) -> tuple[int, tuple[str, ...]]:
    for holder in (outer, text):
        given = holder.text("dtype") or holder.text("torch_dtype")
        if given:
            size = _DTYPES.get(given.removeprefix("torch."))
            # vLLM computes in two bytes what was stored in four.
            if size is not None:
                return (2 if size == 4 else size), ()
            return 2, (
                f"{holder.place}: torch_dtype {given!r} is unknown; two bytes per number are assumed.",
            )
    return 2, ()


def _drafts(outer: Fields, text: Fields) -> int:
    """Layers of multi-token prediction."""
    given = text.get(*_DRAFTS)
    if given is None:
        given = outer.get(*_DRAFTS)
    return 0 if given is None else text.whole(given, _DRAFTS[0], least=0, most=64)


def _name(outer: Fields, text: Fields) -> str:
    for holder in (outer, text):
        names = holder.values.get("architectures")
        if isinstance(names, list) and names and isinstance(names[0], str):
            return names[0]
    return ""

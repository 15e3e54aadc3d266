"""Which kind each layer of a model is: read from its lists where it has them, from its periods otherwise."""

from collections.abc import Sequence
from typing import Literal

from vllm_multinode.sizing.model.fields import Fields

# full, sliding and chunked attention; a recurrence; both side by side; a block without either.
Kind = Literal["full", "sliding", "chunked", "recurrent", "both", "none"]

_WORDS: dict[str, Kind] = {
    "full_attention": "full", "attention": "full", "full": "full", "global": "full", "*": "full",
    "minimax_m3_sparse": "full", "sparse": "full", "deepseek_sparse_attention": "full",
    "sliding_attention": "sliding", "sliding_window": "sliding", "sliding": "sliding", "local": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "recurrent", "mamba": "recurrent", "mamba2": "recurrent", "conv": "recurrent",
    "recurrent": "recurrent", "linear": "recurrent", "m": "recurrent", "kda": "recurrent",
    "hybrid": "both",
    "mlp": "none", "moe": "none", "-": "none", "e": "none",
}  # fmt: skip
# Every n-th layer attends to everything and the others to a window, where no list says so.
_WINDOW_PERIODS = {
    "gemma2": 2, "gpt_oss": 2, "vaultgemma": 2, "gemma3_text": 6, "gemma3n_text": 5, "gemma4_text": 6,
    "cohere2": 4, "exaone4": 4, "olmo3": 4,
}  # fmt: skip
_BOTH = frozenset({"falcon_h1", "hymba"})
_RECURRENT_ONLY = frozenset({"mamba", "mamba2", "falcon_mamba"})
# Class defaults name a window that these apply only where use_sliding_window says so.
_WINDOW_ON_DEMAND = ("use_sliding_window",)
# A window that vLLM does not apply: it attends to everything.
_WINDOW_IGNORED = frozenset({"qwen2_moe", "minimax_m2"})


def layer_kinds(text: Fields, layers: int) -> tuple[tuple[Kind, ...], tuple[str, ...]]:
    """Kind of every layer, and what was guessed.

    Raises:
        MultinodeError: MODEL_CONFIG, where a list has another length than there are layers.
    """
    pattern = text.text("hybrid_override_pattern")
    if pattern:
        marks = [mark for mark in pattern if mark != "|"]
        if len(marks) < layers:
            raise text.bad(
                "hybrid_override_pattern", f"has {len(marks)} layers where num_hidden_layers is {layers}"
            )
        return _from_words(text, "hybrid_override_pattern", marks[:layers])
    for name in ("layer_types", "layers_block_type"):
        words = text.listed(name)
        if words and len(words) < layers:
            raise text.bad(name, f"has {len(words)} entries where num_hidden_layers is {layers}")
        if words:
            kinds, guesses = _from_words(text, name, words[:layers])
            return _without_window(text, kinds), guesses
    marks = text.listed("hybrid_layer_pattern")
    if marks:
        if len(marks) < layers:
            raise text.bad(
                "hybrid_layer_pattern", f"has {len(marks)} entries where num_hidden_layers is {layers}"
            )
        return _without_window(text, _mixed("sliding", [bool(mark) for mark in marks[:layers]])), ()
    missing = text.model_type == "nemotron_h"
    guesses = (
        f"{text.place}: hybrid_override_pattern is missing; which layer is which is not known.",
    ) * missing
    return _without_window(text, _by_period(text, layers)), guesses


def _from_words(text: Fields, name: str, words: Sequence[object]) -> tuple[tuple[Kind, ...], tuple[str, ...]]:
    """A list's words as kinds; an unknown word counts as full attention and is named."""
    unknown = sorted({str(word) for word in words if str(word).lower() not in _WORDS})
    guesses = (
        (f"{text.place}: {name} has {', '.join(unknown)[:60]}; full attention is assumed.",)
        if unknown
        else ()
    )
    return tuple(_WORDS.get(str(word).lower(), "full") for word in words), guesses


def _without_window(text: Fields, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """Sliding layers attend to everything where there is no window, and chunked ones where no chunk."""
    window = text.count("sliding_window", "sliding_window_size", "window_size", default=0, least=-1)
    chunk = text.count("attention_chunk_size", default=0, least=0)
    return tuple(
        "full" if (kind == "sliding" and window <= 0) or (kind == "chunked" and not chunk) else kind
        for kind in kinds
    )


def _by_period(text: Fields, layers: int) -> tuple[Kind, ...]:
    kind = text.model_type
    alone: Kind | None = "recurrent" if kind in _RECURRENT_ONLY else "both" if kind in _BOTH else None
    if alone is not None:
        return tuple(alone for _ in range(layers))
    if found := _recurrent_pattern(text, layers):
        return found
    if kind == "llama4_text":
        rope = text.listed("no_rope_layers")
        every = text.count("no_rope_layer_interval", default=4)
        local = [bool(rope[i] if i < len(rope) else (i + 1) % every) for i in range(layers)]
        return _mixed("chunked", local)
    if kind in _WINDOW_PERIODS:
        default = _WINDOW_PERIODS[kind]
        period = text.get("sliding_window_pattern", "_sliding_window_pattern")
        every = period if isinstance(period, int) and period > 0 else default
        return _mixed("sliding", [(i + 1) % every != 0 for i in range(layers)])
    return _uniform_window(text, layers)


def _uniform_window(text: Fields, layers: int) -> tuple[Kind, ...]:
    """A window that the configuration itself names: for all layers, or from max_window_layers on."""
    on_demand = text.get(*_WINDOW_ON_DEMAND)
    asked = on_demand is None or bool(on_demand)
    if text.model_type in _WINDOW_IGNORED or not text.says("sliding_window") or not asked:
        return _mixed("sliding", [False] * layers)
    first = text.count("max_window_layers", default=0, least=0) if on_demand else 0
    return _mixed("sliding", [i >= first for i in range(layers)])


def _recurrent_pattern(text: Fields, layers: int) -> tuple[Kind, ...]:
    """Recurrences with attention in between; empty where there are none."""
    kda = text.inner("linear_attn_config")
    if kda is not None:
        full = set(map(str, kda.listed("full_attn_layers")))
        return _attention_at({i for i in range(layers) if str(i + 1) in full}, layers)
    for name in ("attn_layer_indices", "full_attn_idxs"):
        if text.says(name):
            full = set(map(str, text.listed(name)))
            return _attention_at({i for i in range(layers) if str(i) in full}, layers)
    if text.says("attn_type_list"):
        marks = text.listed("attn_type_list")
        return _attention_at({i for i in range(layers) if i >= len(marks) or marks[i]}, layers)
    if text.get("attn_layer_period") is not None:
        period = text.count("attn_layer_period")
        offset = text.count("attn_layer_offset", default=0, least=0)
        return _attention_at({i for i in range(layers) if i % period == offset}, layers)
    if text.says("full_attention_interval") or text.model_type.startswith(("qwen3_next", "qwen3_5")):
        every = text.count("full_attention_interval", default=4)
        return _attention_at({i for i in range(layers) if (i + 1) % every == 0}, layers)
    return ()


def _mixed(kind: Kind, places: Sequence[bool]) -> tuple[Kind, ...]:
    """This kind where it is marked, and attention to everything in all other layers."""
    return tuple(kind if here else "full" for here in places)


def _attention_at(places: set[int], layers: int) -> tuple[Kind, ...]:
    """Attention in these layers, and a recurrence in all others."""
    return _mixed("recurrent", [i not in places for i in range(layers)])


def expert_layers(text: Fields, layers: int) -> tuple[bool, ...]:
    """Which layers have experts, in a model that has some."""
    words = text.listed("mlp_layer_types")
    if words:
        return tuple(i < len(words) and words[i] == "sparse" for i in range(layers))
    if text.says("moe_layers", "moe_layers_enum"):
        chosen = set(map(str, _numbers(text, "moe_layers", "moe_layers_enum")))
        return tuple(str(i) in chosen for i in range(layers))
    frequencies = text.get("moe_layer_freq")
    if isinstance(frequencies, list):
        return tuple(i < len(frequencies) and bool(frequencies[i]) for i in range(layers))
    first = text.count("first_k_dense_replace", "moe_layer_start_index", default=0, least=0)
    last = text.count("moe_layer_end_index", default=-1, least=-1)
    dense = set(map(str, text.listed("mlp_only_layers")))
    period, offset = _period(text)
    return tuple(
        i >= first and (last < 0 or i <= last) and str(i) not in dense and i % period == offset
        for i in range(layers)
    )


def _numbers(text: Fields, *names: str) -> list[object]:
    """A list of layers, also where it is written as one text with commas."""
    written = text.text(*names)
    return [part.strip() for part in written.split(",")] if written else list(text.listed(*names))


def _period(text: Fields) -> tuple[int, int]:
    """Every how many layers experts stand, and at which of them."""
    if text.get("expert_layer_period") is not None:
        return text.count("expert_layer_period"), text.count("expert_layer_offset", default=0, least=0)
    # These count layers from one.
    step = text.count(
        "decoder_sparse_step",
        "interleave_moe_layer_step",
        "moe_layer_interval",
        "moe_every_n_layers",
        default=1,
    )
    if text.says("moe_layer_freq"):
        return text.count("moe_layer_freq"), 0
    return step, step - 1

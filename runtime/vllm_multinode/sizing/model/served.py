"""What is known of architectures: whether vLLM serves them, and how far they are understood here."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from vllm_multinode.sizing.model.fields import Fields
from vllm_multinode.sizing.model.quantization import Quantization


def served(
    name: str, text: Fields, outer: Fields, quantization: Quantization
) -> tuple[bool | None, tuple[str, ...]]:
    """Whether vLLM can split it, and what is open about the architecture and its quantisation."""
    table, methods = _architectures()
    guesses = []
    if name and name not in table:
        guesses.append(
            f"{outer.place}: architectures: vLLM {table['']} does not list {name!r}; "
            "the sizes come from its fields."
        )
    elif not name:
        guesses.append(
            f"{outer.place}: architectures is missing; whether vLLM supports the model is not checked."
        )
    if not text.known_type and text.model_type not in (*_KNOWN_TYPES, *_PARTLY_KNOWN):
        shown = repr(text.model_type) if text.model_type else "missing"
        guesses.append(
            f"{text.place}: model_type is {shown}, which is unknown; the sizes come from its fields."
        )
    if text.model_type in _PARTLY_KNOWN:
        guesses.append(f"{text.place}: {text.model_type}: {_PARTLY_KNOWN[text.model_type]}")
    if name.endswith("ForConditionalGeneration") and not outer.says(
        "vision_config", "audio_config", "thinker_config"
    ):
        guesses.append(
            f"{outer.place}: vision_config is missing; a vision tower, if there is one, is not counted."
        )
    method = quantization.method
    if method and not quantization.guesses and method not in methods and method not in _OTHER_NAMES:
        guesses.append(
            f"{outer.place}: quantization_config: vLLM {table['']} has no quant_method {method!r}; "
            "an older version may serve it."
        )
    return (table[name] == "yes" if name in table else None), tuple(guesses)


_PARTLY_KNOWN = {
    "deepseek_v4": "its attention is only partly modelled; weights are estimates.",
    "deepseek_v41": "its compressed attention is not modelled; weights and cache are estimates.",
    "minimax_m3_vl_text": "its sparse attention is not modelled; weights and cache are estimates.",
    "zamba2": "its shared blocks are not modelled; weights and cache are estimates.",
}


def in_part(model_type: str) -> bool:
    """Whether layers of this type are known and not modelled in full."""
    return model_type in _PARTLY_KNOWN


# Served by vLLM and read right, though transformers has no class for them.
_KNOWN_TYPES = frozenset(
    {
        "bailing_moe_v2", "chatglm", "deepseek", "kimi_k2", "minimax_m1", "minimax_m3_text",
        "minimax_text_01", "MiniMaxText01",
    }
)  # fmt: skip


# vLLM reads these under a name of its own.
_OTHER_NAMES = frozenset({"auto-round", "modelopt_mxfp8", "nvfp4", "ptpc_fp8"})


@functools.cache
def _architectures() -> tuple[Mapping[str, str], frozenset[str]]:
    """Architecture -> whether it has pipeline stages ("yes", "no"), "" -> vLLM's version; quant_methods."""
    document = json.loads((Path(__file__).parent / "architectures.json").read_bytes())
    yes = dict.fromkeys(document["pipeline"], "yes")
    table = {**yes, **dict.fromkeys(document["no_pipeline"], "no"), "": str(document["vllm"])}
    return table, frozenset(document["quantization"])

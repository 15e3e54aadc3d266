"""What is known of architectures: whether vLLM serves them, and how far they are understood here."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from vllm_multinode.sizing.fields import Fields


def served(name: str, text: Fields, outer: Fields) -> tuple[bool | None, tuple[str, ...]]:
    """Whether vLLM can split it, and what is open about the architecture."""
    table = _architectures()
    guesses = []
    if name and name not in table:
        guesses.append(
            f"{outer.place}: architectures: vLLM {table['']} lists no {name!r}; it is read by its fields."
        )
    elif not name:
        guesses.append(f"{outer.place}: architectures is missing; what vLLM supports is not checked.")
    if not text.known_type and text.model_type not in _KNOWN_TYPES:
        shown = repr(text.model_type) if text.model_type else "missing"
        guesses.append(f"{text.place}: model_type is {shown}, not known here; it is read by its fields.")
    if text.model_type in _PARTLY_KNOWN:
        guesses.append(f"{text.place}: {text.model_type}: {_PARTLY_KNOWN[text.model_type]}")
    if name.endswith("ForConditionalGeneration") and not outer.says(
        "vision_config", "audio_config", "thinker_config"
    ):
        guesses.append(f"{outer.place}: vision_config is missing; a tower, if there is one, is not counted.")
    return (table[name] == "yes" if name in table else None), tuple(guesses)


_PARTLY_KNOWN = {
    "deepseek_v4": "its compressed attention is not modelled; weights and cache are estimates.",
    "deepseek_v41": "its compressed attention is not modelled; weights and cache are estimates.",
    "minimax_m3_vl_text": "its sparse attention is not modelled; weights and cache are estimates.",
    "zamba2": "its shared blocks are not modelled; weights and cache are estimates.",
}
# Served by vLLM and read right, though transformers has no class for them.
_KNOWN_TYPES = frozenset({"kimi_k2", "chatglm", "minimax_text_01", "minimax_m1", "MiniMaxText01", "deepseek"})


@functools.cache
def _architectures() -> Mapping[str, str]:
    """Architecture -> whether it has pipeline stages ("yes", "no"); "" -> vLLM's version."""
    document = json.loads((Path(__file__).parent / "architectures.json").read_bytes())
    yes = dict.fromkeys(document["pipeline"], "yes")
    return {**yes, **dict.fromkeys(document["no_pipeline"], "no"), "": str(document["vllm"])}

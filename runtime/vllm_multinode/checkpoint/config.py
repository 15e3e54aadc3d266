"""A model's config.json: reading it, the language model's part of it, and the names of its fields."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from vllm_multinode.contract.bounded import read_bounded
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

CONFIG: Final = "config.json"
QUANTIZATION: Final = "hf_quant_config.json"
"""Where NVIDIA's ModelOpt may keep the quantisation; vLLM reads it where config.json says nothing."""
# Multimodal models keep the language model's sizes one level down.
NESTED: Final = ("text_config", "llm_config", "language_config", "thinker_config")

# The names that model classes give to the same size, the commonest first.
HIDDEN: Final = ("hidden_size", "d_model", "n_embd", "dim")
LAYERS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEADS: Final = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KV_HEADS: Final = (
    "num_key_value_heads",
    "n_head_kv",
    "num_kv_heads",
    "multi_query_group_num",
    "num_attention_groups",
    "n_kv_heads",
)
VOCABULARY: Final = ("vocab_size",)

# No real one is a hundredth of it.
MOST_BYTES: Final = 64 << 20


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.json, or another file that holds one JSON object.

    Raises:
        MultinodeError: MODEL_MISSING where there is no such file; MODEL_CONFIG where it is not a JSON object.
    """
    if path.exists() and not path.is_file():
        raise _bad(path, "is not a file.", "Give a model's config.json.")
    try:
        content = read_bounded(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise MultinodeError(ExitCode.MODEL_MISSING, "there is no such file.", where=str(path)) from error
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror or error}.") from error
    return read_object(content, path)


def read_object(content: bytes, path: Path | str) -> dict[str, Any]:
    """Parse one JSON object.

    Args:
        content: the file's.
        path: of the file, for messages.

    Raises:
        MultinodeError: MODEL_CONFIG.
    """
    try:
        found = json.loads(content.decode("utf-8"))
    except json.JSONDecodeError as error:
        what = f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        raise _bad(path, what) from error
    # A number of more digits than Python reads is a ValueError as well.
    except (ValueError, RecursionError) as error:
        what = "is not JSON: it is not UTF-8, is nested too deeply, or contains a number that is too long."
        raise _bad(path, what) from error
    if not isinstance(found, dict):
        raise _bad(path, f"is not a JSON object but a {type(found).__name__}.")
    return found


def with_quantization(config: dict[str, Any], read_other: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The configuration with the quantisation of ModelOpt's own file, unless it has one itself.

    Args:
        config: of config.json.
        read_other: reads ModelOpt's file, and is called only where that is needed.
    """
    if any(config.get(key) for key in ("quantization_config", "compression_config")):
        return config
    return {**config, "quantization_config": dict(read_other())}


def language_model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a configuration; the whole where it is not divided.

    What that part leaves out is the model class's own default, not the outer configuration's value.
    """
    for name in NESTED:
        nested = config.get(name)
        if isinstance(nested, Mapping) and nested:
            return language_model(nested)
    return config


def count(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The first of the names that gives a positive whole number; None where none does."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def kv_heads(config: Mapping[str, Any]) -> int | None:
    """KV heads of a layer, where tensor parallelism has to divide or repeat them.

    None also for latent attention, which every rank computes whole.
    """
    if config.get("kv_lora_rank") is not None:
        return None
    if config.get("multi_query") is True and not config.get("new_decoder_architecture"):
        # The older Falcons give as many KV heads as heads and yet share one.
        return 1
    return count(config, KV_HEADS)


def _bad(path: Path | str, what: str, hint: str = "Copy this file again.") -> MultinodeError:
    return MultinodeError(ExitCode.MODEL_CONFIG, what, where=str(path), hint=hint)

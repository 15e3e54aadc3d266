"""Configurations of published models, and small ones made for a test."""

import functools
import json
from pathlib import Path
from typing import Any

from vllm_multinode.sizing.model.sources import Source, from_config
from vllm_multinode.sizing.planner.request import Gpu, Request

DATA = Path(__file__).parents[2] / "data" / "sizing"


@functools.cache
def _all() -> dict[str, dict[str, Any]]:
    return dict(json.loads((DATA / "configs.json").read_text()))


def names() -> list[str]:
    return list(_all())


def config(name: str) -> dict[str, Any]:
    """A published model's configuration, to be changed at will."""
    found: dict[str, Any] = json.loads(json.dumps(_all()[name]))
    return found


def small(**fields: Any) -> dict[str, Any]:
    """A Llama of round numbers."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 8,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "vocab_size": 32000,
        "max_position_embeddings": 8192,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
    } | fields


def source(found: dict[str, Any]) -> Source:
    return from_config("model", found, "config.json")


def request(found: dict[str, Any], gib: float = 80, **fields: Any) -> Request:
    return Request(source(found), Gpu("GPU", gib, 3000.0, 400.0, 50.0, 900.0), **fields)

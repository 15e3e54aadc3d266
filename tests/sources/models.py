"""A small whole model, as files in memory."""

import json
import random
import struct
from collections.abc import Mapping

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 512,
}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def shard(tensor: str, size: int, seed: int) -> bytes:
    """A safetensors file of one tensor of random bytes."""
    header = json.dumps({tensor: {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(size)


def model(size: int = 3_000_000, seed: int = 0) -> dict[str, bytes]:
    """Two shards of some `size` bytes, their index, and the small files beside them."""
    weight_map = {f"model.layers.{number}.a.weight": name for number, name in enumerate(SHARDS)}
    shards = {
        name: shard(tensor, size + number, seed + number)
        for number, (tensor, name) in enumerate(weight_map.items())
    }
    small = {
        "config.json": json.dumps(CONFIG),
        "tokenizer.json": "{}",
        "model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": weight_map}),
    }
    return {**{name: text.encode() for name, text in small.items()}, **shards}


def same(files: Mapping[str, bytes], found: Mapping[str, bytes]) -> bool:
    """Whether two sets of files are the same, without showing megabytes where they differ."""
    return files.keys() == found.keys() and all(found[name] == content for name, content in files.items())

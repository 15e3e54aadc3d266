"""The weights of the made model: which tensors there are, their values, and the safetensors format."""

import hashlib
import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod, sqrt
from typing import Any, BinaryIO, Literal

DType = Literal["float32", "bfloat16"]
BYTES_PER_VALUE: dict[DType, int] = {"float32": 4, "bfloat16": 2}
SAFETENSORS_DTYPE: dict[DType, str] = {"float32": "F32", "bfloat16": "BF16"}
# What vLLM's CPU attention kernels take (vllm/v1/attention/backends/cpu_attn.py).
HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256)
# A tensor's values repeat after this many: a prime, so that its rows differ whatever its width.
BLOCK = 65_537
# Embeddings are this much smaller than what the layers add to them, and attention is this much sharper than
# with the usual scale of 1: the next word then depends on the whole text and not only on the last word, and
# greedy decoding does not fall into a short cycle.
EMBEDDING_SCALE = 0.3
SHARPNESS = 2.0


@dataclass(frozen=True)
class Sizes:
    """The model's sizes; `head_size` is the least of HEAD_SIZES that lets the heads span the width."""

    layers: int
    heads: int
    kv_heads: int
    width: int
    intermediate: int
    vocab: int
    shards: int
    dtype: DType

    @property
    def head_size(self) -> int:
        """Values per attention head; `width` may not exceed `heads` times the largest of HEAD_SIZES."""
        return next(size for size in HEAD_SIZES if size * self.heads >= self.width)


@dataclass(frozen=True)
class Tensor:
    """A tensor to be written; `spread` is the standard deviation of its values, 0 for all ones."""

    name: str
    shape: tuple[int, ...]
    spread: float
    # Of an output head: the rows that are not zero, so that no other token is ever the likeliest.
    rows: tuple[int, ...] = ()

    @property
    def values(self) -> int:
        """How many values the tensor has."""
        return prod(self.shape)


def tensors(sizes: Sizes, words: tuple[int, ...]) -> Iterator[Tensor]:
    """Name every tensor, first layer first, so that each shard is a run of layers."""
    width, inner = sizes.width, sizes.intermediate
    queries, keys = sizes.heads * sizes.head_size, sizes.kv_heads * sizes.head_size
    even = 1 / sqrt(width)
    yield Tensor("model.embed_tokens.weight", (sizes.vocab, width), EMBEDDING_SCALE)
    for layer in range(sizes.layers):
        prefix = f"model.layers.{layer}"
        yield Tensor(f"{prefix}.input_layernorm.weight", (width,), 0)
        yield Tensor(f"{prefix}.self_attn.q_proj.weight", (queries, width), SHARPNESS * even)
        yield Tensor(f"{prefix}.self_attn.k_proj.weight", (keys, width), even)
        yield Tensor(f"{prefix}.self_attn.v_proj.weight", (keys, width), even)
        yield Tensor(f"{prefix}.self_attn.o_proj.weight", (width, queries), 1 / sqrt(queries))
        yield Tensor(f"{prefix}.post_attention_layernorm.weight", (width,), 0)
        yield Tensor(f"{prefix}.mlp.gate_proj.weight", (inner, width), even)
        yield Tensor(f"{prefix}.mlp.up_proj.weight", (inner, width), even)
        yield Tensor(f"{prefix}.mlp.down_proj.weight", (width, inner), 1 / sqrt(inner))
    yield Tensor("model.norm.weight", (width,), 0)
    yield Tensor("lm_head.weight", (sizes.vocab, width), 1, rows=words)


def split(every: list[Tensor], shards: int) -> Iterator[list[Tensor]]:
    """Cut the list into `shards` runs of nearly the same number of values, none empty."""
    rest = every
    for left in range(shards, 1, -1):
        fair = sum(tensor.values for tensor in rest) / left
        taken, filled = 1, rest[0].values
        while len(rest) - taken > left - 1 and filled + rest[taken].values / 2 <= fair:
            filled += rest[taken].values
            taken += 1
        yield rest[:taken]
        rest = rest[taken:]
    yield rest


def write_shard(file: BinaryIO, held: list[Tensor], dtype: DType, seed: int) -> None:
    """Write one safetensors file: the header's length (8 bytes), the header (JSON), the values."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in held:
        start, end = end, end + tensor.values * BYTES_PER_VALUE[dtype]
        header[tensor.name] = {
            "dtype": SAFETENSORS_DTYPE[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for tensor in held:
        file.writelines(_pieces(tensor, dtype, seed))


def _pieces(tensor: Tensor, dtype: DType, seed: int) -> Iterator[bytes]:
    """Give a tensor's bytes, some hundred KiB at a time."""
    if tensor.rows:
        yield from _chosen_rows(tensor, dtype, seed)
        return
    count = min(BLOCK, tensor.values)
    block = _pack(_random(tensor, seed, count) if tensor.spread else [1.0] * count, dtype)
    for _ in range(tensor.values // count):
        yield block
    yield block[: tensor.values % count * BYTES_PER_VALUE[dtype]]


def _chosen_rows(tensor: Tensor, dtype: DType, seed: int) -> Iterator[bytes]:
    """Give an output head row by row: random where a word is, zero elsewhere."""
    chosen = frozenset(tensor.rows)
    width = tensor.shape[1]
    for row in range(tensor.shape[0]):
        if row in chosen:
            yield _pack(_random(replace(tensor, name=f"{tensor.name} {row}"), seed, width), dtype)
        else:
            yield bytes(width * BYTES_PER_VALUE[dtype])


def _random(tensor: Tensor, seed: int, count: int) -> list[float]:
    """Draw from an even distribution with the tensor's spread; only exact arithmetic, so always the same."""
    key = hashlib.sha256(f"{seed} {tensor.name}".encode()).digest()
    draw = random.Random(int.from_bytes(key)).random  # noqa: S311 - weights, not secrets
    reach = tensor.spread * sqrt(3)
    return [reach * (2 * draw() - 1) for _ in range(count)]


def _pack(values: list[float], dtype: DType) -> bytes:
    packed = struct.pack(f"<{len(values)}f", *values)
    if dtype == "float32":
        return packed
    # bfloat16 is the upper half of a float32.
    halves = bytearray(len(packed) // 2)
    halves[0::2], halves[1::2] = packed[2::4], packed[3::4]
    return bytes(halves)

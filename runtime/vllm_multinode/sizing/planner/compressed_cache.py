"""The cache of layers that keep one entry for several tokens (DeepSeek-V4), as vLLM lays it out.

Such a layer has up to five caches: a window of uncompressed entries, the compressed entries, the state of
the compressor, and, where it has an indexer, the indexer's keys and the state of their compressor. Sizes are
those of vLLM's fp8_ds_mla layout, which it takes for "auto" and "fp8" alike; nothing is divided over TP.
Sources: models/deepseek_v4/attention.py and compressor.py, v1/attention/backends/mla/sparse_swa.py and
v1/core/kv_cache_utils.py of vLLM.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vllm_multinode.engines.vllm import Blocks
from vllm_multinode.sizing.model.layers import Compression

# How a block is made as large as every group of layers needs.

# The kernels take no other.
BLOCK = 256
# 448 numbers in FP8, 64 with position in BF16, 8 bytes of scales.
ENTRY_BYTES = 584
_ALIGNMENT = 576
_WINDOW_BLOCK = 64
# Compress ratio -> tokens of a block of the compressor's state.
_STATE_BLOCK = {4: 4, 128: 8}
_INDEXED = 4
_FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class Bucket:
    """Caches that draw the same blocks: one window, or everything; tokens of a block; pages by layer.

    Attributes:
        reach: tokens of the window; 0 for everything.
        tokens: in one block.
        pages: (layer, bytes of a page).
    """

    reach: int
    tokens: int
    pages: tuple[tuple[int, int], ...]

    @property
    def by_size(self) -> dict[int, list[int]]:
        """Bytes of a page -> the layers with one."""
        found: dict[int, list[int]] = {}
        for layer, size in self.pages:
            found.setdefault(size, []).append(layer)
        return found

    @property
    def repeats(self) -> int:
        """Layers of the most frequent size."""
        return max(len(layers) for layers in self.by_size.values())

    @property
    def bytes(self) -> int:
        """Of one block, all its layers together."""
        return sum(size for _, size in self.pages)

    def within(self, start: int, end: int) -> "Bucket":
        """Those of a stage's layers."""
        return Bucket(self.reach, self.tokens, tuple(p for p in self.pages if start <= p[0] < end))

    def split(self, many: int) -> list["Bucket"]:
        """Into so many groups; a layer's pages stay together."""
        columns = list(self.by_size.items())
        return [
            Bucket(
                self.reach,
                self.tokens,
                tuple((layer, size) for size, layers in columns for layer in layers[number::many]),
            )
            for number in range(many)
        ]


def layer_caches(layer: Compression, head_dim: int) -> list[tuple[int, int, int]]:
    """The caches of one layer: (window or 0, tokens of a block, bytes of a page)."""
    found = [(layer.window, _WINDOW_BLOCK, _page(_WINDOW_BLOCK * ENTRY_BYTES))]
    ratio = layer.ratio
    if ratio <= 1:
        return found
    found.append((0, BLOCK, _page(BLOCK // ratio * ENTRY_BYTES)))
    # Compressing four tokens overlaps with the four before them.
    overlap = 2 if ratio == _INDEXED else 1
    reach, block = overlap * ratio, _STATE_BLOCK[ratio]
    widths = [head_dim]
    if ratio == _INDEXED:
        widths.append(layer.index_dim)
        keys = layer.index_dim + layer.index_dim // 128 * 4
        found.append((0, BLOCK, _page(BLOCK // ratio * keys)))
    # Values and scores.
    found += [(reach, block, _page(block * 2 * overlap * width * _FLOAT32)) for width in widths]
    return found


def grouped(layers: Sequence[tuple[Compression, int]], blocks: Blocks) -> list[Bucket]:
    """Groups of caches that draw blocks from one pool; the one of everything, if any, is first.

    Args:
        layers: every layer's compression and head dimension.
        blocks: how a block is sized.
    """
    pages: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for index, (layer, head_dim) in enumerate(layers):
        for reach, tokens, size in layer_caches(layer, head_dim):
            pages.setdefault((reach, tokens), []).append((index, size))
    buckets = [Bucket(*key, tuple(of)) for key, of in sorted(pages.items())]
    if len(buckets) == 1:
        return buckets
    full = [bucket for bucket in buckets if not bucket.reach]
    windows = [bucket for bucket in buckets if bucket.reach]
    if blocks == "widest":
        return _widest(full, windows)
    sizes = sorted({size for bucket in full for _, size in bucket.pages})
    padded = [_padded(bucket, sizes) for bucket in windows]
    least = full[0].repeats
    each = _chunk([least, *(bucket.repeats for bucket in padded)], least)
    return full + [part for bucket in padded for part in bucket.split(-(-bucket.repeats // each))]


def block_bytes(groups: Sequence[Bucket], blocks: Blocks) -> int:
    """Bytes of one block of the pool, for a stage's part of the groups."""
    if blocks == "widest":
        return max((group.bytes for group in groups), default=0)
    counts = [Counter(size for _, size in group.pages) for group in groups]
    most = {size: max(count[size] for count in counts) for count in counts for size in count}
    if blocks == "slots":
        return sum(size * count for size, count in most.items())
    sizes = {size for group in groups if not group.reach for _, size in group.pages} or set(most)
    return sum(sizes) * max(most.values(), default=0)


def _widest(full: list[Bucket], windows: list[Bucket]) -> list[Bucket]:
    """Split so that groups repeat a pattern of layers equally often, where a window mixes page sizes."""
    buckets = full + windows
    balanced = [b for b in buckets if len({len(layers) for layers in b.by_size.values()}) == 1]
    least = max((b.repeats for b in balanced if len(b.by_size) > 1), default=0)
    if least:
        each = _chunk([bucket.repeats for bucket in balanced], least)
        many = [-(-b.repeats // each) if b in balanced else 1 for b in buckets]
    else:
        # A window's group holds no more layers than a block has room for.
        room = max([b.bytes for b in full] + [b.pages[0][1] for b in windows])
        many = [-(-len(b.pages) // max(1, room // b.pages[0][1])) if b.reach else 1 for b in buckets]
    return [part for bucket, parts in zip(buckets, many, strict=True) for part in bucket.split(parts)]


def _padded(bucket: Bucket, sizes: list[int]) -> Bucket:
    """Pages as large as the next size among those of the compressed entries."""
    pages = tuple((layer, min((s for s in sizes if s >= size), default=size)) for layer, size in bucket.pages)
    return Bucket(bucket.reach, bucket.tokens, pages)


def _chunk(counts: list[int], least: int) -> int:
    """The number, `least` or more, whose multiples these counts come closest to from below."""
    return min(
        range(least, max(*counts, least) + 1),
        key=lambda each: (sum(-count % each for count in counts), -each),
    )


def _page(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT

"""The KV cache as vLLM lays it out: pages per layer, groups of layers, blocks per request."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from vllm_multinode.checkpoint.stages import layer_split
from vllm_multinode.engines.vllm import Vllm, vllm_named
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.layers import Attention, Compression, LatentAttention
from vllm_multinode.sizing.model.recurrent import Mamba2
from vllm_multinode.sizing.planner import compressed_cache
from vllm_multinode.sizing.planner.latent_cache import latent_entry
from vllm_multinode.sizing.planner.loading import Device

KvDtype = Literal["auto", "fp8"]
Rule = Literal["full", "window", "chunk", "state"]

_BLOCK = 16
# FlashMLA's kernels take blocks of 64 tokens.
_LATENT_BLOCK = 64
_LATENT_BLOCK_BESIDE_STATES = 128
# Prefix caching, on unless a model has no attention at all, keeps the state before the current one as well,
# and of Mamba's second version one more at the end of the prompt.
_STATES, _STATES_MAMBA2, _STATES_ALONE = 2, 3, 1
# A layer counts as needing groups of its own only where kinds differ in number by half or more.
_PADDED_GROUPS = 1.5


@dataclass(frozen=True, slots=True)
class Page:
    """One layer's part of a block on one rank.

    Attributes:
        rule: which tokens are kept.
        bytes: of one block.
        tokens: in one block.
        reach: window or chunk, for those rules.
        states: of a request, for states.
    """

    rule: Rule
    bytes: int
    tokens: int
    reach: int = 0
    states: int = 1

    @property
    def per_token(self) -> float:
        """Bytes of a token; 0 for a state, which does not grow."""
        return 0.0 if self.rule == "state" else self.bytes / self.tokens


@dataclass(frozen=True)
class Cache:
    """The KV cache of one (TP, PP) cut.

    Attributes:
        block_tokens: tokens of one block of an attention layer.
        stage_block_bytes: bytes that one block takes on a rank of each stage.
        stage_token_bytes: bytes that one more token takes there where nothing is dropped.
        groups: the pages that requests draw blocks for, one per group of layers.
        in_flight: tokens that may be scheduled and not yet settled; windows reserve for them.
        parts: what a group's blocks count for in the concurrency that the engine logs; empty for 1 each.
    """

    block_tokens: int
    stage_block_bytes: tuple[int, ...]
    stage_token_bytes: tuple[int, ...]
    groups: tuple[Page, ...]
    in_flight: int
    parts: tuple[float, ...] = ()

    def counted_blocks(self, context: int) -> int:
        """Blocks that the engine reckons with for such a request when it logs its concurrency."""
        if not self.parts:
            return self.blocks(context)
        held = (_blocks(page, context, self.in_flight) for page in self.groups)
        return math.ceil(sum(part * many for part, many in zip(self.parts, held, strict=True)))

    def blocks(self, context: int) -> int:
        """Blocks that one request of this many tokens holds, all groups together."""
        return sum(_blocks(page, context, self.in_flight) for page in self.groups)

    def bytes(self, stage: int, context: int, concurrency: int) -> int:
        """Bytes on one rank of a stage for requests of so many tokens, and the one block kept free."""
        if not self.groups:
            return 0
        return self.stage_block_bytes[stage] * (self.blocks(context) * concurrency + 1)

    def requests(self, blocks: int, context: int) -> int:
        """How many requests of this many tokens fit into so many blocks."""
        held = self.blocks(context)
        return (blocks - 1) // held if held and blocks > 1 else 0

    def tokens(self, blocks: int, concurrency: int, most: int) -> int:
        """The longest context, at most `most`, with which so many requests fit into so many blocks."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.requests(blocks, middle) >= concurrency:
                low = middle
            else:
                high = middle - 1
        return low


def _blocks(page: Page, context: int, in_flight: int) -> int:
    if page.rule == "state":
        return page.states
    if page.rule == "window":
        return -(-min(page.reach - 1 + in_flight, context) // page.tokens) + 1
    if page.rule == "chunk":
        return -(-min(page.reach + in_flight, context) // page.tokens)
    return -(-context // page.tokens)


def kv_cache(
    model: Architecture,
    tp: int,
    pp: int,
    dtype: KvDtype = "auto",
    in_flight: int = 8192,
    *,
    prefix_caching: bool = True,
    block_size: int = 0,
    drafts: int = 0,
    version: Vllm | None = None,
    device: Device | None = None,
) -> Cache:
    """Lay out the cache for one cut.

    Args:
        model: the model.
        tp: tensor parallel size; KV heads are divided down to one, latents not at all.
        pp: pipeline parallel size.
        dtype: of the cache's numbers; "auto" is the model's.
        in_flight: tokens of all batches that may be under way at once.
        prefix_caching: whether states of earlier requests are kept.
        block_size: tokens of a block; 0 for the engine's own choice.
        drafts: layers of multi-token prediction that the last stage has besides.
        version: of the engine; the default one where it is not said.
        device: that the engine runs on; Hopper where it is not said.
    """
    version, device = version or vllm_named(), device or Device()
    if compressed := _compressions(model):
        sizes = _stage_layers(len(compressed), pp, drafts)
        # Layers of multi-token prediction see their window alone.
        compressed += [(replace(compressed[-1][0], ratio=0), compressed[-1][1])] * drafts
        return _compressed(compressed, sizes, in_flight, version)
    width = number_bytes(model, dtype)
    block = _LATENT_BLOCK if model.latent else _BLOCK
    if model.latent and model.recurrent:
        block = _LATENT_BLOCK_BESIDE_STATES
    block = block_size or block
    known = {id(layer): index for index, layer in enumerate(model.layers)}
    of_kind = {
        key: layer_pages(model, index, tp, width, block, device, version) for key, index in known.items()
    }
    pages = [of_kind[id(layer)] for layer in model.layers]
    if drafts:
        pages += [_of_drafts(pages)] * drafts
    pages, block = _aligned(pages, block)
    if not prefix_caching:
        pages = [
            [replace(p, states=_STATES_ALONE) if p.rule == "state" else p for p in layer] for layer in pages
        ]
    sizes = _stage_layers(len(model.layers), pp, drafts)
    if not any(pages):
        return Cache(block, (0,) * pp, (0,) * pp, (), in_flight)
    assigned, groups = _grouped(_padded(pages))
    block_bytes, token_bytes, start = [], [], 0
    for size in sizes:
        members = [pair for layer in assigned[start : start + size] for pair in layer]
        by_group = [
            sum(page.bytes for group, page in members if group == number) for number in range(len(groups))
        ]
        block_bytes.append(max(by_group, default=0))
        token_bytes.append(
            math.ceil(sum(page.per_token for layer in pages[start : start + size] for page in layer))
        )
        start += size
    return Cache(block, tuple(block_bytes), tuple(token_bytes), tuple(groups), in_flight)


def number_bytes(model: Architecture, dtype: KvDtype) -> int:
    """Bytes of one number of the cache; a checkpoint may ask for FP8 itself."""
    eight_bit = dtype == "fp8" or (dtype == "auto" and model.quantization.cache_fp8)
    return 1 if eight_bit else model.dtype_bytes


def _stage_layers(layers: int, pp: int, drafts: int) -> list[int]:
    sizes = list(layer_split(layers, pp))
    sizes[-1] += drafts
    return sizes


def _compressions(model: Architecture) -> list[tuple[Compression, int]]:
    """Of every layer, with its head dimension; empty for models that compress nothing."""
    return [
        (mixer.compression, mixer.head_dim)
        for layer in model.layers
        for mixer in layer.mixers
        if isinstance(mixer, Attention) and mixer.compression
    ]


def _compressed(
    layers: list[tuple[Compression, int]], sizes: list[int], in_flight: int, version: Vllm
) -> Cache:
    """The cache of a model whose layers compress."""
    kind = version.compressed_blocks
    groups = compressed_cache.grouped(layers, kind)
    block_bytes, token_bytes, start = [], [], 0
    for size in sizes:
        held = [group.within(start, start + size) for group in groups]
        block_bytes.append(compressed_cache.block_bytes(held, kind))
        token_bytes.append(math.ceil(sum(part.bytes / part.tokens for part in held if not part.reach)))
        start += size
    pages = tuple(
        Page("window" if group.reach else "full", group.bytes, group.tokens, group.reach) for group in groups
    )
    parts = tuple(group.bytes / groups[0].bytes for group in groups) if version.counts_groups_by_bytes else ()
    block = compressed_cache.BLOCK
    return Cache(block, tuple(block_bytes), tuple(token_bytes), pages, in_flight, parts)


def _of_drafts(pages: list[list[Page]]) -> list[Page]:
    """A layer of multi-token prediction caches what the last layer with attention to everything does."""
    full = [layer for layer in pages if any(page.rule == "full" for page in layer)]
    return full[-1] if full else []


def layer_pages(
    model: Architecture, index: int, tp: int, width: int, block: int, device: Device, version: Vllm
) -> list[Page]:
    """Pages of one layer on one rank, before they are made alike.

    Args:
        model: the model.
        index: the layer's number.
        tp: tensor parallel size.
        width: bytes of a number of the cache.
        block: tokens of a block.
        device: that the engine runs on.
        version: of the engine.
    """
    found = []
    for mixer in model.layers[index].mixers:
        if isinstance(mixer, LatentAttention):
            found.append(Page("full", block * latent_entry(mixer, tp, width, device, version), block))
            if mixer.index_heads:
                # The indexer keeps its keys in FP8 with a scale of four bytes for each.
                found.append(Page("full", block * (mixer.index_dim + 4 * -(-mixer.index_dim // 128)), block))
        elif isinstance(mixer, Attention):
            if not mixer.shares_cache and not mixer.cross:
                found.append(_attention_page(mixer, tp, width, block))
            if mixer.index_dim:
                found.append(Page("full", block * mixer.index_dim * model.dtype_bytes, block))
        else:
            state = mixer.memory(tp)
            size = state.convolution * model.dtype_bytes
            size += state.recurrent * (state.recurrent_bytes or model.dtype_bytes)
            many = _STATES_MAMBA2 if isinstance(mixer, Mamba2) else _STATES
            found.append(Page("state", size, 0, states=many))
    return found


def _attention_page(mixer: Attention, tp: int, width: int, block: int) -> Page:
    heads = max(1, mixer.kv_heads // tp)
    size = block * heads * (mixer.head_dim + mixer.v_head_dim) * width
    if mixer.window is not None:
        return Page("window", size, block, mixer.window)
    if mixer.chunk is not None:
        return Page("chunk", size, block, mixer.chunk)
    return Page("full", size, block)


def _aligned(pages: list[list[Page]], block: int) -> tuple[list[list[Page]], int]:
    """Beside states, blocks of attention grow until a page of it holds a state."""
    states = [page.bytes for layer in pages for page in layer if page.rule == "state"]
    others = [page for layer in pages for page in layer if page.rule != "state"]
    if not states:
        return pages, block
    if not others:
        return [[replace(page, states=_STATES_ALONE) for page in layer] for layer in pages], block
    per_token = min(page.bytes for page in others) // block
    needed = block * -(-max(states) // (block * per_token)) if per_token else block
    factor = max(1, needed // block)
    grown = [
        [
            p if p.rule == "state" else replace(p, bytes=p.bytes * factor, tokens=p.tokens * factor)
            for p in layer
        ]
        for layer in pages
    ]
    return grown, block * factor


def _padded(pages: list[list[Page]]) -> list[list[Page]]:
    """Pages as large as the largest: of more tokens where that divides, padded otherwise.

    Pages of one rule alone keep their sizes: their layers share one group.
    """
    kinds = {(page.rule, page.reach) for layer in pages for page in layer}
    if len(kinds) == 1:
        return pages
    largest = max(page.bytes for layer in pages for page in layer)

    def grown(page: Page) -> Page:
        if page.rule == "state" or not page.bytes or largest % page.bytes:
            return replace(page, bytes=largest)
        return replace(page, bytes=largest, tokens=page.tokens * (largest // page.bytes))

    return [[grown(page) for page in layer] for layer in pages]


def _grouped(pages: list[list[Page]]) -> tuple[list[list[tuple[int, Page]]], list[Page]]:
    """Groups of layers that draw the same blocks, equally many in each, as vLLM makes them.

    Returns:
        For every layer its pages with their group's number, and the page of every group.
    """
    kinds: dict[tuple[Rule, int, int], list[tuple[int, int]]] = {}
    for index, layer in enumerate(pages):
        for place, page in enumerate(layer):
            uniform = page.bytes if page.rule == "state" else 0
            kinds.setdefault((page.rule, page.reach, uniform), []).append((index, place))
    counts = [len(members) for members in kinds.values()]
    size = max(counts) if max(counts) < min(counts) * _PADDED_GROUPS else min(counts)
    assigned: list[list[tuple[int, Page]]] = [[(0, page) for page in layer] for layer in pages]
    groups: list[Page] = []
    for members in kinds.values():
        how_many = -(-len(members) // size)
        first = len(groups)
        for place, (index, inner) in enumerate(members):
            assigned[index][inner] = (first + place % how_many, pages[index][inner])
        index, inner = members[0]
        groups += [pages[index][inner]] * how_many
    return assigned, groups

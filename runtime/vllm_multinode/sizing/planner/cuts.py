"""Computes one cut of a model in full: its memory on every stage, its cache, its speed."""

import functools
from collections.abc import Iterator
from dataclasses import replace

from vllm_multinode.checkpoint.stages import layer_split
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.sizing.model.splits import Cut, Part
from vllm_multinode.sizing.planner import memory, speed
from vllm_multinode.sizing.planner.choice import Choice
from vllm_multinode.sizing.planner.kv_cache import Cache, kv_cache
from vllm_multinode.sizing.planner.loading import Extra, loaded_beside
from vllm_multinode.sizing.planner.memory import Memory
from vllm_multinode.sizing.planner.profiling import Batch, profile
from vllm_multinode.sizing.planner.request import Request
from vllm_multinode.sizing.planner.rules import Refusal, pipeline_refusals, tensor_refusals
from vllm_multinode.sizing.planner.speed import Speed, Wires

# Where neither request nor configuration says how long a request is.
FALLBACK_CONTEXT = 8192
_MOST_CONTEXT = 1 << 24


class Planner:
    """Tries cuts of one request; a cut's parts are computed once."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.model = request.source.model
        self.context = request.context or self.model.max_context or FALLBACK_CONTEXT
        self.refused: dict[str, Refusal] = {}
        self._cut = functools.cache(self._cut_for)
        self._beside = functools.cache(self._beside_for)
        self._profile = functools.cache(functools.partial(profile, self.model, engine=request.engine))
        self._tensor_refusals = functools.cache(functools.partial(tensor_refusals, self.model))
        self.choice = functools.cache(self._choice)

    def _cut_for(self, tp: int) -> Cut:
        """The weights that the engine loads."""
        given, cut = self.request.settings, self.request.source.cut(tp)
        if given.text_only:
            cut = replace(cut, towers=Part(stored=cut.towers.stored))
        elif given.whole_towers and tp > 1:
            cut = replace(cut, towers=self.request.source.cut(1).towers)
        if given.speculation.layers:
            cut = cut.with_drafts()
        if (draft := given.speculation.draft) is not None:
            cut = replace(cut, last=cut.last + Part(loaded=draft.cut(tp).stages(1)[0].loaded))
        return cut

    def _beside_for(self, tp: int) -> Extra:
        engine = self.request.engine
        return loaded_beside(self.model, tp, engine.device, engine.version)

    @property
    def checkpoint(self) -> float:
        """Bytes of the model's files."""
        return float(self.request.source.published_bytes or self._cut(1).checkpoint)

    def choices(self, nodes: int, gpus: int, *, spanning: bool = True) -> Iterator[Choice]:
        """Every allowed cut over exactly so many nodes that uses all, or in one node some, of their GPUs.

        Args:
            nodes: of the cut.
            gpus: of each node.
            spanning: whether TP may span nodes, where the executor can.
        """
        spanning = spanning and not EXECUTORS[self.request.executor].node_per_stage
        for tp, pp in _shapes(nodes, gpus, spanning=spanning):
            if self._allowed(tp, pp, asked=gpus % tp == 0 or tp % gpus == 0):
                yield self.choice(tp, pp, nodes, tp * pp // nodes)

    def refusals(self, tp: int, pp: int) -> tuple[Refusal, ...]:
        """Every rule of vLLM that the cut breaks."""
        return (*self._tensor_refusals(tp), *pipeline_refusals(self.model, pp))

    def _allowed(self, tp: int, pp: int, *, asked: bool) -> bool:
        """Whether vLLM takes it; a refusal is kept where one would ask for such a cut."""
        found = self.refusals(tp, pp)
        if not asked:
            return not found
        for refusal in self._tensor_refusals(tp):
            self.refused.setdefault(f"TP {tp}", refusal)
        for refusal in pipeline_refusals(self.model, pp):
            self.refused.setdefault(f"PP {pp}", refusal)
        return not found

    def _choice(self, tp: int, pp: int, nodes: int, gpus: int) -> Choice:
        """One cut in full; with a smaller batch where only that fits and nothing was asked for."""
        usual = self.batch
        made = self.with_batch(tp, pp, nodes, gpus, usual)
        given = self.request.settings
        asked = given.tokens or given.requests or self.request.tensor_parallel
        asked = asked or self.request.pipeline_parallel
        if made.verdict != "fits" and usual.tokens > memory.SMALL_BATCH and not asked:
            small = Batch(memory.SMALL_BATCH, max(self.request.concurrency, min(usual.requests, 256)))
            again = self.with_batch(tp, pp, nodes, gpus, small)
            return again if again.verdict == "fits" or (again.fits and not made.fits) else made
        return made

    @property
    def usual_batch(self) -> Batch:
        """The engine's default, with room for as many requests as are asked for."""
        gpu, version = self.request.gpu, self.request.settings.version
        return memory.default_batch(gpu.memory_gib, gpu.name, version, self.context, self.request.concurrency)

    @property
    def batch(self) -> Batch:
        """As it was asked for, else the engine's default."""
        given, usual = self.request.settings, self.usual_batch
        return Batch(given.tokens or usual.tokens, given.requests or usual.requests)

    def with_batch(self, tp: int, pp: int, nodes: int, gpus: int, batch: Batch) -> Choice:
        """One cut with this batch."""
        request, cut = self.request, self._cut(tp)
        cache = self._cache(tp, pp, batch)
        stages = cut.stages(pp)
        memories = self._memories(stages, cache, tp, pp, batch)
        tightest = min(range(pp), key=lambda stage: memories[stage].left)
        blocks = _fewest_blocks(memories, cache)
        most = self.model.max_context or _MOST_CONTEXT
        if cache.groups:
            longest = cache.tokens(blocks, request.concurrency, most)
            together = min(cache.requests(blocks, self.context), batch.requests)
        else:
            longest = most if memories[tightest].left >= 0 else 0
            together = batch.requests if longest else 0
        return Choice(
            tp, pp, nodes, gpus, batch, memories, tightest, stages, cache, blocks,
            max_context=longest, max_concurrency=together,
            speed=self._speed(cut, cache, tp, pp, nodes, gpus),
        )  # fmt: skip

    def _cache(self, tp: int, pp: int, batch: Batch) -> Cache:
        """Its layout, with that of a draft model on the last stage."""
        given = self.request.settings
        lay_out = functools.partial(
            kv_cache, tp=tp, dtype=self.request.kv_dtype, prefix_caching=given.prefix_caching,
            # One batch per stage is under way, and one more is being prepared.
            block_size=given.block_size, version=given.version, device=self.request.engine.device,
            in_flight=batch.tokens * (pp + 1 if given.version.reserves_in_flight else 1),
        )  # fmt: skip
        cache = lay_out(self.model, pp=pp, drafts=given.speculation.layers)
        if (draft := given.speculation.draft) is None or not cache.groups:
            return cache
        beside = lay_out(draft.model, pp=1)
        own = beside.stage_block_bytes[0] * cache.block_tokens // beside.block_tokens
        *others, last = cache.stage_block_bytes
        return replace(cache, stage_block_bytes=(*others, last + own))

    def _memories(
        self, stages: tuple[Part, ...], cache: Cache, tp: int, pp: int, batch: Batch
    ) -> tuple[Memory, ...]:
        """Of a GPU of every stage."""
        request = self.request
        beside, start, found = self._beside(tp), 0, []
        for stage, size in enumerate(layer_split(len(self.model.layers), pp)):
            weights = stages[stage].loaded + beside.stage(start, size)
            found.append(
                memory.stage_memory(
                    weights, self._profile(size, tp, pp > 1, stage == pp - 1, batch),
                    total=request.gpu.bytes, utilization=request.utilization,
                    kv_bytes=cache.bytes(stage, self.context, request.concurrency),
                    guessed=bool(self.model.guesses), in_part=self.model.in_part, unified=request.gpu.unified,
                    unseen=not request.settings.version.held_against_logs,
                )
            )  # fmt: skip
            start += size
        return tuple(found)

    def _speed(self, cut: Cut, cache: Cache, tp: int, pp: int, nodes: int, gpus: int) -> Speed:
        gpu = self.request.gpu
        return speed.bounds(
            self.model, cut, cache, tp=tp, pp=pp, nodes=nodes, context=self.context,
            concurrency=self.request.concurrency,
            wires=Wires(
                gpu.bandwidth_gbs, gpu.network_gbs if tp > gpus else gpu.link_gbs, gpu.tflops,
                self.request.claim_gbs,
            ),
        )  # fmt: skip

    def fewest_nodes(self, gpus: int) -> int:
        """No fewer nodes can hold the weights, however they are cut."""
        usable = self.request.gpu.bytes * self.request.utilization
        loaded = sum(part.loaded for part in self._cut(1).stages(1))
        return max(1, int(loaded // (usable * gpus)))


def _fewest_blocks(memories: tuple[Memory, ...], cache: Cache) -> int:
    fits = [
        one.for_cache // size for one, size in zip(memories, cache.stage_block_bytes, strict=True) if size
    ]
    return min(fits, default=0)


def _shapes(nodes: int, gpus: int, *, spanning: bool) -> Iterator[tuple[int, int]]:
    """TP and PP over exactly so many nodes.

    In one node any number of its GPUs may be used. Over several, TP fills a node or a part of it that
    divides it, and PP the rest; under Ray, TP may span nodes as well (under mp, KServe gives every pod the
    GPUs of one stage).
    """
    if nodes == 1:
        for used in range(1, gpus + 1):
            yield from ((tp, used // tp) for tp in range(used, 0, -1) if used % tp == 0)
        return
    for tp in range(gpus, 0, -1):
        if gpus % tp == 0:
            yield tp, nodes * gpus // tp
    if spanning:
        for spanned in range(2, nodes + 1):
            if nodes % spanned == 0:
                yield gpus * spanned, nodes // spanned

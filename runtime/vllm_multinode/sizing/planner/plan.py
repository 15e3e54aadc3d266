"""Chooses TP, PP and nodes, and says why."""

import functools
from collections.abc import Iterator
from dataclasses import replace

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.model.splits import Cut
from vllm_multinode.sizing.planner import memory, speed
from vllm_multinode.sizing.planner.alternatives import varied, why
from vllm_multinode.sizing.planner.choice import Choice, Plan
from vllm_multinode.sizing.planner.hints import notes_of
from vllm_multinode.sizing.planner.kv_cache import Cache, kv_cache
from vllm_multinode.sizing.planner.memory import GIB, Batch, Memory
from vllm_multinode.sizing.planner.request import Request
from vllm_multinode.sizing.planner.rules import Refusal, pipeline_refusals, tensor_refusals
from vllm_multinode.sizing.planner.speed import Speed

# Where neither request nor configuration says how long a request is.
FALLBACK_CONTEXT = 8192
_MOST_NODES = 64
_MOST_CONTEXT = 1 << 24


class Planner:
    """Tries cuts of one request; a cut's parts are computed once."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.model = request.source.model
        self.context = request.context or self.model.max_context or FALLBACK_CONTEXT
        self.refused: dict[str, Refusal] = {}
        self._cut = functools.cache(request.source.cut)
        self._tensor_refusals = functools.cache(functools.partial(tensor_refusals, self.model))
        self.choice = functools.cache(self._choice)

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

    def _allowed(self, tp: int, pp: int, *, asked: bool) -> bool:
        """Whether vLLM takes it; a refusal is kept where one would ask for such a cut."""
        found = (*self._tensor_refusals(tp), *pipeline_refusals(self.model, pp))
        if not asked:
            return not found
        for refusal in self._tensor_refusals(tp):
            self.refused.setdefault(f"TP {tp}", refusal)
        for refusal in pipeline_refusals(self.model, pp):
            self.refused.setdefault(f"PP {pp}", refusal)
        return not found

    def _choice(self, tp: int, pp: int, nodes: int, gpus: int) -> Choice:
        """One cut in full; with a smaller batch where only that fits."""
        gpu, many = self.request.gpu, self.request.concurrency
        usual = memory.default_batch(gpu.memory_gib, gpu.name, self.context, many)
        made = self._with_batch(tp, pp, nodes, gpus, usual)
        if not made.fits and usual.tokens > memory.SMALL_BATCH:
            small = Batch(memory.SMALL_BATCH, max(many, min(usual.requests, 256)))
            again = self._with_batch(tp, pp, nodes, gpus, small)
            return again if again.fits else made
        return made

    def _with_batch(self, tp: int, pp: int, nodes: int, gpus: int, batch: Batch) -> Choice:
        request, cut = self.request, self._cut(tp)
        # One batch per stage is under way, and one more is being prepared.
        cache = kv_cache(self.model, tp, pp, request.kv_dtype, in_flight=batch.tokens * (pp + 1))
        stages = cut.stages(pp)
        memories = [
            memory.stage_memory(
                self.model, stage, part.loaded, tp=tp, pp=pp, total=request.gpu.bytes,
                utilization=request.utilization, batch=batch,
                kv_bytes=cache.bytes(stage, self.context, request.concurrency),
            )
            for stage, part in enumerate(stages)
        ]  # fmt: skip
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
            tp, pp, nodes, gpus, batch, memories[tightest], tightest, stages, cache, blocks,
            max_context=longest, max_concurrency=together,
            speed=self._speed(cut, cache, tp, pp, nodes, gpus),
        )  # fmt: skip

    def _speed(self, cut: Cut, cache: Cache, tp: int, pp: int, nodes: int, gpus: int) -> Speed:
        gpu = self.request.gpu
        return speed.bounds(
            self.model, cut, cache, tp=tp, pp=pp, nodes=nodes, context=self.context,
            concurrency=self.request.concurrency, claim_gbs=self.request.claim_gbs,
            bandwidth_gbs=gpu.bandwidth_gbs, link_gbs=gpu.network_gbs if tp > gpus else gpu.link_gbs,
            tflops=gpu.tflops,
        )  # fmt: skip

    def fewest_nodes(self, gpus: int) -> int:
        """No fewer nodes can hold the weights, however they are cut."""
        usable = self.request.gpu.bytes * self.request.utilization
        loaded = sum(part.loaded for part in self._cut(1).stages(1))
        return max(1, int(loaded // (usable * gpus)))


def _fewest_blocks(memories: list[Memory], cache: Cache) -> int:
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


def _rank(choice: Choice) -> tuple[object, ...]:
    """Smaller is better: in one node fewest stages, then GPUs; over several the widest TP inside one."""
    if choice.nodes == 1:
        return (False, choice.pipeline_parallel, choice.gpus)
    return (
        choice.crosses,
        -choice.tensor_parallel if not choice.crosses else choice.tensor_parallel,
        choice.gpus,
    )


def choose(request: Request) -> Plan:
    """Choose how to serve a model on what there is.

    Returns:
        A plan; `fits` is false where nothing there is can hold it.

    Raises:
        MultinodeError: SIZES, for a context that vLLM refuses.
    """
    planner = Planner(request)
    limit = planner.model.max_context
    if limit and request.context > limit:
        what = f"a context of {request.context} is beyond the model's own limit of {limit}; vLLM refuses it."
        raise MultinodeError(ExitCode.SIZES, what, hint=f"Ask for --context {limit} or less.")
    pools = _pools(request)
    found = _first_fit(planner, pools)
    smallest = None
    if not found:
        # One look at what is closest, and one at how many nodes of the largest kind it would take.
        found = _closest(planner, pools)
        beyond = [(max(gpus for gpus, _ in pools), _MOST_NODES)]
        smallest = next(iter(_first_fit(planner, beyond)), None)
    fits = bool(found) and found[0].fits
    best = found[0] if found else None
    return _answer(planner, best, found[1:] if fits else [], smallest, fits=fits)


def preferred(made: Plan) -> tuple[float, ...]:
    """Orders plans for different accelerators: what fits, on the fewest nodes and GPUs, fastest first."""
    best = made.best
    if best is None:
        return (2.0,)
    if not made.fits:
        return (1.0, -best.memory.left)
    return (0.0, best.nodes, best.gpus, -(best.speed.stream_tokens_per_s or 0.0))


def _pools(request: Request) -> list[tuple[int, int]]:
    """(GPUs of a node, how many nodes have as many): unequal nodes are used up to a common count."""
    if not request.node_gpus:
        return [(request.gpus_per_node, _MOST_NODES)]
    counts = sorted(set(request.node_gpus), reverse=True)
    return [(count, sum(other >= count for other in request.node_gpus)) for count in counts]


def _first_fit(planner: Planner, pools: list[tuple[int, int]]) -> list[Choice]:
    """Choices that fit on the fewest nodes, best first."""
    found: list[Choice] = []
    fewest = _MOST_NODES + 1
    for gpus, available in pools:
        for nodes in range(planner.fewest_nodes(gpus), min(available, fewest) + 1):
            here = [choice for choice in planner.choices(nodes, gpus) if choice.fits]
            if here:
                found = sorted([*(c for c in found if c.nodes == nodes), *here], key=_rank)
                fewest = nodes
                break
    return found


def _closest(planner: Planner, pools: list[tuple[int, int]]) -> list[Choice]:
    """What comes closest of all that is there: the least lacking, on the most nodes that can be used."""
    found: list[Choice] = []
    for gpus, available in pools:
        for nodes in range(min(available, _MOST_NODES), 0, -1):
            if here := list(planner.choices(nodes, gpus)):
                found += here
                break
    return sorted(found, key=lambda choice: -choice.memory.left)


def _next_smaller(planner: Planner, best: Choice) -> Choice | None:
    """The best of what has a node or some GPUs less and does not fit: it tells what the others are for."""
    if best.nodes > 1:
        found = list(planner.choices(best.nodes - 1, best.gpus_per_node, spanning=False))
    else:
        found = [choice for choice in planner.choices(1, best.gpus_per_node) if choice.gpus < best.gpus]
    lacking = [choice for choice in found if not choice.fits]
    return max(lacking, key=lambda choice: (choice.max_context, choice.memory.left), default=None)


def _answer(
    planner: Planner, best: Choice | None, others: list[Choice], smallest: Choice | None, *, fits: bool
) -> Plan:
    request = planner.request
    replicas = _replicas(request, best) if best and fits else 1
    more = list(_with_one_more_node(planner, best)) if best and fits else []
    alternatives = tuple(
        replace(choice, reason=why(choice, best)) for choice in (*varied(others, best), *more) if best
    )
    checkpoint = planner.checkpoint
    smaller = _next_smaller(planner, best) if best and fits else None
    reasons = notes_of(planner.model, request, best, smaller, fits=fits, context=planner.context)
    refused = tuple(planner.refused.items())
    return Plan(
        request=request,
        context=planner.context,
        fits=fits,
        best=best,
        alternatives=alternatives,
        smallest=smallest,
        replicas=replicas,
        checkpoint=round(checkpoint),
        # A tenth more than the files: tokenizer, index, and room for a file system's own.
        claim_gib=int(-(-checkpoint * 1.1 // GIB)) + 1,
        shared_memory_gib=max(2, 2 * (best.gpus_per_node if best else 1)),
        refused=refused,
        reasons=reasons,
        guesses=(*planner.model.guesses, *request.source.notes, *request.gpu.notes),
    )


def _with_one_more_node(planner: Planner, best: Choice) -> Iterator[Choice]:
    """The best over one node more than it takes, where there is one."""
    gpus = max((each for each, _ in _pools(planner.request)), default=0)
    available = next((nodes for each, nodes in _pools(planner.request) if each == gpus), 0)
    if best.nodes < available:
        fitting = [c for c in planner.choices(best.nodes + 1, gpus, spanning=False) if c.fits]
        yield from sorted(fitting, key=_rank)[:1]


def _replicas(request: Request, best: Choice) -> int:
    """How many groups like this one the nodes there are can hold."""
    if not request.node_gpus:
        return 1
    if best.nodes == 1:
        return max(1, sum(count // best.gpus for count in request.node_gpus))
    return max(1, sum(count >= best.gpus_per_node for count in request.node_gpus) // best.nodes)

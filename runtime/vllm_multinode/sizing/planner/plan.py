"""Chooses TP, PP and nodes, and says why."""

from collections.abc import Iterator
from dataclasses import replace

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.vllm import unread
from vllm_multinode.sizing.planner.alternatives import varied, why
from vllm_multinode.sizing.planner.choice import Choice, Plan, is_power_of_two
from vllm_multinode.sizing.planner.cuts import Planner
from vllm_multinode.sizing.planner.hints import notes_of
from vllm_multinode.sizing.planner.profiling import GIB
from vllm_multinode.sizing.planner.request import Request

_MOST_NODES = 64


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
    """Choose how to serve a model on what there is, or say what the sizes that were asked for come to.

    Returns:
        A plan; its verdict says whether anything there is can hold it.

    Raises:
        MultinodeError: SIZES, for a context or a cut that vLLM rejects.
    """
    planner = Planner(request)
    limit = planner.model.max_context
    if limit and request.context > limit:
        what = f"a context of {request.context} exceeds the model's own limit of {limit}; vLLM rejects it."
        raise MultinodeError(ExitCode.SIZES, what, hint=f"Set --context {limit} or less.")
    if request.tensor_parallel or request.pipeline_parallel:
        return as_asked(planner)
    pools = _pools(request)
    found = _first_fit(planner, pools)
    smallest = None
    if not found:
        # One look at what is closest, and one at how many nodes of the largest kind it would take.
        found = _closest(planner, pools)
        beyond = [(max(gpus for gpus, _ in pools), _MOST_NODES)]
        smallest = next(iter(_first_fit(planner, beyond)), None)
    best = found[0] if found else None
    others = found[1:] if best and best.fits else []
    return _answer(planner, best, others, smallest)


def as_asked(planner: Planner) -> Plan:
    """The figures of one cut, with the one beside it that would have been chosen.

    Raises:
        MultinodeError: SIZES, for a cut that vLLM rejects, or that nodes do not hold.
    """
    request = planner.request
    tp, pp = request.tensor_parallel or 1, request.pipeline_parallel or 1
    if refused := planner.refusals(tp, pp):
        what = f"vLLM rejects TP {tp}, PP {pp}: {refused[0].what}"
        raise MultinodeError(ExitCode.SIZES, what, hint="Without --tensor-parallel, plan chooses sizes.")
    each = max((*request.node_gpus, request.gpus_per_node)) if request.node_gpus else request.gpus_per_node
    nodes = -(-tp * pp // each)
    if request.node_gpus and nodes < len(request.node_gpus) and tp * pp % len(request.node_gpus) == 0:
        nodes = len(request.node_gpus)
    if tp * pp % nodes or (request.node_gpus and nodes > len(request.node_gpus)):
        what = f"TP {tp}, PP {pp} are {tp * pp} GPUs, which cannot be divided evenly over nodes with {each}."
        raise MultinodeError(
            ExitCode.SIZES, what, hint="Set --gpus-per-node and --nodes to match your nodes."
        )
    asked = planner.choice(tp, pp, nodes, tp * pp // nodes)
    free = choose(replace(request, tensor_parallel=0, pipeline_parallel=0))
    better = [free.best] if free.best and not _same(free.best, asked) and _better(free.best, asked) else []
    return _answer(planner, asked, better, free.smallest, chosen=False)


def _same(one: Choice, other: Choice) -> bool:
    return (one.tensor_parallel, one.pipeline_parallel) == (other.tensor_parallel, other.pipeline_parallel)


def _better(one: Choice, asked: Choice) -> bool:
    """Whether it is surer to fit, or takes less for as much."""
    order = ("does-not-fit", "within-error", "fits")
    return (order.index(one.verdict), -one.gpus, one.max_context) > (
        order.index(asked.verdict), -asked.gpus, asked.max_context,
    )  # fmt: skip


def preferred(made: Plan) -> tuple[float, ...]:
    """Orders plans for different accelerators: what fits, on the fewest nodes and GPUs, fastest first."""
    best = made.best
    if best is None:
        return (2.0,)
    if made.verdict == "does-not-fit":
        return (1.0, -best.memory.left)
    unsure = 0.0 if made.verdict == "fits" else 0.5
    return (unsure, best.nodes, best.gpus, -(best.speed.stream_tokens_per_s or 0.0))


def _pools(request: Request) -> list[tuple[int, int]]:
    """(GPUs of a node, how many nodes have as many): unequal nodes are used up to a common count."""
    if not request.node_gpus:
        return [(request.gpus_per_node, _MOST_NODES)]
    counts = sorted(set(request.node_gpus), reverse=True)
    return [(count, sum(other >= count for other in request.node_gpus)) for count in counts]


def _first_fit(planner: Planner, pools: list[tuple[int, int]]) -> list[Choice]:
    """Choices that fit on the fewest nodes, best first.

    What is left may be less than the estimate's error: such choices stand behind all others, more nodes
    included, and come back alone only where nothing is surer.
    """
    found: list[Choice] = []
    tight: list[Choice] = []
    fewest = _MOST_NODES + 1
    for gpus, available in pools:
        for nodes in range(planner.fewest_nodes(gpus), min(available, fewest) + 1):
            holding = [choice for choice in planner.choices(nodes, gpus) if choice.fits]
            tight += [choice for choice in holding if choice.verdict != "fits"]
            if here := [choice for choice in holding if choice.verdict == "fits"]:
                found = sorted([*(c for c in found if c.nodes == nodes), *here], key=_rank)
                fewest = nodes
                break
    return found or sorted(tight, key=lambda choice: (choice.nodes, *_rank(choice)))


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
        fewer = (choice for choice in planner.choices(1, best.gpus_per_node) if choice.gpus < best.gpus)
        found = [choice for choice in fewer if is_power_of_two(choice.gpus)]
    lacking = [choice for choice in found if choice.verdict != "fits"]
    return max(lacking, key=lambda one: (one.fits, one.max_context, one.memory.left), default=None)


def _answer(
    planner: Planner,
    best: Choice | None,
    others: list[Choice],
    smallest: Choice | None,
    *,
    chosen: bool = True,
) -> Plan:
    """The plan.

    Args:
        best: the choice, or the cut that was asked for.
        others: behind it.
        smallest: where nothing fits, the fewest nodes that would.
        chosen: whether the best was chosen rather than asked for.
    """
    request = planner.request
    fits = best is not None and best.fits
    more = list(_with_one_more_node(planner, best)) if best and fits and chosen else []
    runners_up = varied(others, best) if chosen else others
    alternatives = tuple(
        replace(choice, reason=why(choice, best, chosen=chosen)) for choice in (*runners_up, *more) if best
    )
    checkpoint = planner.checkpoint
    smaller = _next_smaller(planner, best) if best and fits and chosen else None
    reasons = notes_of(planner, best, smaller, alternatives)
    return Plan(
        request=request,
        context=planner.context,
        best=best,
        alternatives=alternatives,
        smallest=smallest,
        replicas=_replicas(request, best) if best and fits else 1,
        checkpoint=round(checkpoint),
        # A tenth more than the files: tokenizer, index, and room for a file system's own.
        claim_gib=int(-(-checkpoint * 1.1 // GIB)) + 1,
        shared_memory_gib=max(2, 2 * (best.gpus_per_node if best else 1)),
        refused=tuple(planner.refused.items()),
        reasons=reasons,
        guesses=tuple(
            filter(
                None,
                (
                    unread(request.settings.version),
                    *planner.model.guesses,
                    *request.source.notes,
                    *request.gpu.notes,
                ),
            )
        ),
    )


def _with_one_more_node(planner: Planner, best: Choice) -> Iterator[Choice]:
    """The best over one node more than it takes, where there is one."""
    gpus = max((each for each, _ in _pools(planner.request)), default=0)
    available = next((nodes for each, nodes in _pools(planner.request) if each == gpus), 0)
    if best.nodes < available:
        fitting = [c for c in planner.choices(best.nodes + 1, gpus, spanning=False) if c.verdict == "fits"]
        yield from sorted(fitting, key=_rank)[:1]


def _replicas(request: Request, best: Choice) -> int:
    """How many groups like this one the nodes there are can hold."""
    if not request.node_gpus:
        return 1
    if best.nodes == 1:
        return max(1, sum(count // best.gpus for count in request.node_gpus))
    return max(1, sum(count >= best.gpus_per_node for count in request.node_gpus) // best.nodes)

"""What a verdict is, and what several judges ask of a window. Pure."""

from typing import Final, Literal

from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.operate.bench.samples import ProcessWindow, Window

VerdictId = Literal["coordinator", "stage", "queue", "cache", "network", "replicas", "engine", "unclear"]
SOME: Final = 4
"""Requests under way below which shares of them say nothing."""
RUNS: Final = 0.5
"""Of the requests under way, in a batch."""
FULL: Final = 0.95
_WAITING: Final = 0.25
"""Of all requests in an engine, in its queue."""


class Verdict(Frozen):
    """What limits it.

    Attributes:
        id: of the kind.
        concurrency: at which it was seen.
        sentence: what limits it.
        evidence: the numbers, a line each.
        advice: what to try; empty where there is nothing to do.
    """

    id: VerdictId
    concurrency: int
    sentence: str
    evidence: tuple[str, ...] = ()
    advice: str = ""


def waits(running: float, waiting: float) -> bool:
    """Whether so many of an engine's requests wait that it is no chance."""
    return waiting >= max(1.0, _WAITING * (running + waiting))


def used(one: ProcessWindow) -> float:
    """Part of the time in which a process had work, whether or not it had a core for it."""
    return one.user + one.system + one.queued


def computes(one: ProcessWindow) -> bool:
    """Whether a process holds a part of the model."""
    return "Worker" in one.name


def stages_of(window: Window) -> dict[int, ProcessWindow]:
    """By rank, the process that had to wait longest for its core, of those that hold a part of the model."""
    found: dict[int, ProcessWindow] = {}
    for one in window.processes:
        if computes(one) and (one.rank not in found or used(one) > used(found[one.rank])):
            found[one.rank] = one
    return found


def accounted_for(window: Window) -> float | None:
    """Part of the time in which a stage or the scheduler had work, were they to work one after the other.

    All stages hold like parts of the model, and each has as much work as those beyond the head, whose workers
    sleep while they wait. None where no supervisor tells of such a stage.
    """
    stages = stages_of(window)
    others = [used(one) for rank, one in stages.items() if rank]
    if not others:
        return None
    scheduler = sum(used(one) for one in window.processes if one.name.endswith("EngineCore"))
    return (window.stages or len(stages)) * max(others) + scheduler

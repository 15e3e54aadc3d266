"""Where the counters cannot tell what limits a service: why not, and how to find out. Pure."""

from collections.abc import Sequence
from typing import Final

from vllm_multinode.operate.bench.samples import Window
from vllm_multinode.operate.bench.verdict import RUNS, SOME, Verdict, accounted_for, stages_of, waits

LOOKS: Final = 6
"""At a rung, for its means to say something."""
_COUNTED: Final = 0.6
"""Of the requests that the load got answers to, in the engines' counters."""
_FOREIGN: Final = 1.6
"""How many times the load's requests the engines may have finished."""
_SURE: Final = 20
"""Requests below which those two say nothing."""
_FAILED: Final = 0.1
_ASLEEP: Final = 0.45
"""Of the time, in which the processes of a GPU's stages have no work."""
_BY_NAME: Final = "Give the service's NAME (and --url for the load), so that its supervisors are read."


def not_judged(windows: Sequence[Window]) -> Verdict:
    """No rung can be judged at all."""
    if not windows or not any(one.engines for one in windows):
        return _unclear(
            max((one.concurrency for one in windows), default=0),
            "no engine's counters were read while the load ran.",
            "Name every engine with --metrics, or the service; `multinode status` shows who answers.",
        )
    most = max(windows, key=lambda one: one.looks)
    return _unclear(
        most.concurrency,
        "the rungs were too short for their counters to say anything.",
        "Give longer rungs (--rung-seconds), or more --seconds and --requests.",
        f"read {most.looks} times at most; {LOOKS} times say something",
    )


def mistaken(window: Window) -> Verdict | None:
    """The counters are not of this load, or not of all of it: whatever they show may mislead."""
    if window.answered is None:
        return None
    asked = window.answered + window.failed
    if window.failed > _FAILED * asked:
        return _unclear(
            window.concurrency,
            "too many requests failed for the others to show what limits the service.",
            "See why they failed above; `multinode doctor` and `multinode logs --errors` say more.",
            f"{window.failed} of {asked} requests failed",
        )
    if window.answered < _SURE:
        return None
    done = sum(one.done for one in window.engines)
    counted = f"the engines finished {done:.0f} requests, and the load got {window.answered} answers"
    if done < _COUNTED * window.answered:
        return _unclear(
            window.concurrency,
            "some engine's counters are missing, so its running and waiting requests look the same.",
            "Name every engine with --metrics, or the service; `multinode status` shows who answers.",
            counted,
        )
    if done > _FOREIGN * window.answered:
        return _unclear(
            window.concurrency,
            "other clients' requests are in the counters, and more of them than of this load.",
            "Measure while nobody else uses the service.",
            counted,
        )
    return None


def waiting_untold(window: Window) -> Verdict | None:
    """Requests wait, and whether for a place in the batch or in the cache is not counted."""
    for one in window.engines:
        if one.cache is None and waits(one.running, one.waiting):
            return _unclear(
                window.concurrency,
                "requests wait in the engine, and it does not tell how full its cache is: for want of room "
                "in the batch or in the cache.",
                "See the engine's log for its cache usage.",
                f"{one.name}: {one.running:.1f} running, {one.waiting:.1f} waiting",
            )
    return None


def not_the_engine(window: Window) -> Verdict | None:
    """Nothing stands out, and something that was not counted may still be in the way."""
    running = sum(one.running for one in window.engines)
    batch = f"{running:.1f} of {window.concurrency} requests under way are in the batch"
    if window.concurrency < SOME:
        return _unclear(
            window.concurrency,
            f"fewer than {SOME} requests at a time do not load a service enough to show what limits it.",
            "Take a higher --concurrency.",
            batch,
        )
    if running < RUNS * window.concurrency:
        return _unclear(
            window.concurrency,
            "no place stands out: requests are held before the engine and in it, and nowhere most of them.",
            "Take a higher --concurrency and longer rungs.",
            batch,
        )
    stages = stages_of(window)
    if window.stages is None or (window.stages > 1 and not any(stages)):
        return _unclear(
            window.concurrency,
            "the requests are in the engine, and whether it, a slow stage or the network between the stages "
            "limits them is not counted: no supervisor told of the stages.",
            _BY_NAME,
            batch,
        )
    if window.stages == 1 and any(stages):
        return _unclear(
            window.concurrency,
            "the nodes compute every layer together, and the counters do not tell their work from their "
            "exchange over the network.",
            "Compare the links in `multinode status` with what the network should give.",
            batch,
        )
    return None


def asleep(window: Window) -> Verdict | None:
    """A GPU computes while its process sleeps, so that this looks as slow tensors do."""
    accounted = accounted_for(window)
    if not window.accelerated or accounted is None or accounted > 1 - _ASLEEP:
        return None
    return _unclear(
        window.concurrency,
        "the stages' processes have no work for much of the time: their GPUs compute meanwhile, or tensors "
        "arrive slowly; the counters do not tell which.",
        "See the GPUs' own utilization (DCGM) and the links in `multinode status`.",
        f"stages and scheduler account for {accounted:.0%} of the time",
    )


def _unclear(concurrency: int, why: str, advice: str, *evidence: str) -> Verdict:
    return Verdict(
        id="unclear",
        concurrency=concurrency,
        sentence=f"it is unknown what limits the service: {why}",
        evidence=evidence,
        advice=advice,
    )

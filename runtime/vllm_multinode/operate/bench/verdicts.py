"""What limits a service under load, from what was counted during the run. Pure.

The load keeps a fixed number of requests under way, so where they are says where the time goes: outside the
engine, in its queue, or in its batch. A verdict names what stands in the engine's way; where nothing does,
that is the verdict, and where the counters cannot tell, that is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

from vllm_multinode.operate.bench import unclear
from vllm_multinode.operate.bench.samples import EngineWindow, ProcessWindow, Window
from vllm_multinode.operate.bench.verdict import (
    FULL,
    RUNS,
    SOME,
    Verdict,
    accounted_for,
    stages_of,
    used,
    waits,
)

Name = TypeVar("Name", str, int)
_UNEVEN: Final = 1.6
"""How many times the others' mean one replica's latency or requests under way may be."""
_PREEMPTED: Final = 0.1
"""Of the requests that finished."""
_OUTSIDE: Final = 0.4
"""Of all requests under way, not in any engine."""
_BUSY: Final = 0.8
"""Of a core, by one thread that does all the work of its process."""
_STAGE: Final = 1.5
"""How many times the others' work the slowest stage has."""
_IDLE: Final = 0.02
"""Cores below which a process does no work."""
_DENIED: Final = 2.0
"""How many times the others' slowing for want of a core one stage's may be."""
_LACKS: Final = 0.3
"""Of the time, without a core, which slows the whole pipeline."""
_WIRE: Final = 0.3
"""Of the time between two tokens, on the wire."""
_LOST: Final = 0.45
"""Of the time, in which requests are in the batch and nothing has work."""
_MOST_EVIDENCE: Final = 4


def verdicts_of(windows: Sequence[Window]) -> list[Verdict]:
    """Of a ladder, from its highest rung that was counted: that is where limits show.

    Returns:
        What is wrong, the nearest to the cause first; one that says that nothing is, or that it cannot be
        told.
    """
    judged = [one for one in windows if one.engines and one.looks >= unclear.LOOKS]
    if not judged:
        return [unclear.not_judged(windows)]
    window = max(judged, key=lambda one: one.concurrency)
    if (doubt := unclear.mistaken(window)) is not None:
        return [doubt]
    found = [
        verdict
        for judge in (_replicas, _cache, _queue, _coordinator, _stage, _network)
        for verdict in judge(window)
    ]
    doubts = (unclear.waiting_untold, unclear.not_the_engine, unclear.asleep)
    return found or [next(filter(None, (doubt(window) for doubt in doubts)), _engine(window))]


def _replicas(window: Window) -> Iterator[Verdict]:
    """One replica answers more slowly than the others, or holds requests that they could take."""
    if len(window.engines) < 2:
        return
    held = {one.name: one.running + one.waiting for one in window.engines}
    times = {one.name: one.latency_s for one in window.engines if one.latency_s}
    slowest, slower = _most(times) if len(times) > 1 else ("", 0.0)
    fullest, fuller = _most(held)
    if slower >= _UNEVEN:
        sentence = f"{slowest} takes {slower:.1f} times as long for a request as the others."
        advice = (
            "Run `multinode doctor` on that replica, then check its node's clocks, neighbours and limits."
        )
    elif fuller >= _UNEVEN and sum(held.values()) >= len(held):
        sentence = f"{fullest} holds {fuller:.1f} times as many requests as the others."
        advice = "Put a router that balances by load in front of them, such as vllm-router with power_of_two."
    else:
        return
    yield Verdict(
        id="replicas",
        concurrency=window.concurrency,
        sentence=f"the replicas are uneven: {sentence}",
        evidence=tuple(
            f"{one.name}: {held[one.name]:.1f} requests at a time, {one.finished:.2f} answered a second"
            + (f", {one.latency_s:.2f} s each" if one.latency_s is not None else "")
            for one in window.engines[:_MOST_EVIDENCE]
        ),
        advice=advice,
    )


def _most(values: Mapping[Name, float]) -> tuple[Name, float]:
    """Of two or more, who has the most, and how many times the mean of the others that is."""
    name = max(values, key=lambda one: values[one])
    others = [value for other, value in values.items() if other != name]
    mean = sum(others) / len(others)
    return name, values[name] / mean if mean else float(bool(values[name])) * _UNEVEN


def _cache(window: Window) -> Iterator[Verdict]:
    """Requests wait or are put back because there is no room for their keys and values."""
    for one in window.engines:
        full = one.cache is not None and one.cache >= FULL and _waits(one)
        preempted = one.preempted > _PREEMPTED * max(one.done, 1.0)
        if full or preempted:
            evidence = [
                (
                    f"{one.name}: cache {one.cache or 0:.0%} used at most, {one.running:.1f} running, "
                    f"{one.waiting:.1f} waiting"
                )
            ]
            if one.preempted:
                evidence.append(f"{one.preempted:.0f} preempted, {one.done:.0f} finished")
            yield Verdict(
                id="cache",
                concurrency=window.concurrency,
                sentence="the KV cache is full, and requests wait for room in it"
                + (" or lose it and start again." if one.preempted else "."),
                evidence=tuple(evidence),
                advice="Raise --gpu-memory-utilization or PP, lower --max-model-len, or use an FP8 cache; "
                "`multinode plan` says what each gives.",
            )
            return


def _queue(window: Window) -> Iterator[Verdict]:
    """Requests wait although the cache has room: the batch is as large as it may be."""
    for one in window.engines:
        if not _waits(one) or one.cache is None or one.cache >= FULL:
            continue
        evidence = [f"{one.name}: {one.running:.1f} running, {one.waiting:.1f} waiting"]
        if one.queue_s is not None and one.latency_s:
            evidence.append(
                f"queued for {one.queue_s:.2f} s of {one.latency_s:.2f} s ({one.queue_s / one.latency_s:.0%})"
            )
        evidence.append(f"cache {one.cache:.0%} used at most")
        yield Verdict(
            id="queue",
            concurrency=window.concurrency,
            sentence="requests queue because the batch accepts no more of them.",
            evidence=tuple(evidence),
            advice="Raise --max-num-seqs or --max-num-batched-tokens if the cache has room, or add replicas.",
        )
        return


def _waits(one: EngineWindow) -> bool:
    return waits(one.running, one.waiting)


def _coordinator(window: Window) -> Iterator[Verdict]:
    """Requests are under way, and in no engine: whoever stands before it holds them."""
    inside = sum(one.running + one.waiting for one in window.engines)
    outside = 1 - inside / window.concurrency
    if window.concurrency < SOME or outside < _OUTSIDE:
        return
    busiest = max((one for one in window.processes if _serves(one)), key=used, default=None)
    evidence = [f"{inside:.1f} of {window.concurrency} requests in flight are in the engine"]
    if busiest is not None:
        evidence.append(f"{busiest.name} on {busiest.pod} uses {used(busiest):.0%} of a core")
    if busiest is not None and used(busiest) >= _BUSY:
        sentence = "the API server is saturated while the stages have room: requests wait in it."
        advice = "Give the head more cores, raise --api-server-count, or add replicas."
    elif busiest is None:
        sentence = (
            "requests wait before they reach the engine; whether in its API server or ahead of it was not "
            "counted."
        )
        advice = "Give the service's NAME, so that its head's processes are counted too."
    else:
        sentence = "requests wait before they reach the engine: in a router, a proxy or the client."
        advice = "Measure the head's own port (--url), and check the CPU use of the router and the client."
    yield Verdict(
        id="coordinator",
        concurrency=window.concurrency,
        sentence=sentence,
        evidence=tuple(evidence),
        advice=advice,
    )


def _serves(one: ProcessWindow) -> bool:
    return one.rank == 0 and (one.name == "vllm" or "APIServer" in one.name)


def _network(window: Window) -> Iterator[Verdict]:
    """A token crosses every way between the stages: the wire takes a large part of its time."""
    stages = window.stages or 1
    times = [one.token_s for one in window.engines if one.token_s]
    busy = sum(one.running for one in window.engines)
    if stages < 2 or not times or busy < RUNS * window.concurrency:
        return
    token_ms = sum(times) / len(times) * 1e3
    evidence = [f"{token_ms:.3g} ms between two tokens"]
    # One way to every next stage, and one back to the scheduler.
    wire_ms = (window.round_trip_ms or 0.0) / 2 * stages
    far = wire_ms >= _WIRE * token_ms
    if window.round_trip_ms is not None:
        evidence.append(
            f"round trip between nodes {window.round_trip_ms:.3g} ms; "
            f"{stages} stages: {wire_ms:.3g} ms on the wire for a token at least"
        )
    accounted = accounted_for(window)
    # Where a stage is slow, the others have less work than it: that is known already.
    lost = accounted is not None and accounted <= 1 - _LOST and not any(_stage(window))
    # A GPU computes while its process sleeps.
    lost = lost and not window.accelerated
    if accounted is not None:
        evidence.append(
            f"stages and scheduler account for {accounted:.0%} of the time"
            + (": tensors take the rest to arrive" if lost else "")
        )
    if far or lost:
        yield Verdict(
            id="network",
            concurrency=window.concurrency,
            sentence="the network between the stages takes a large share of the time between two tokens"
            + (": it is far." if far else ": tensors arrive slowly."),
            evidence=tuple(evidence),
            advice="`multinode status` has each link's bandwidth and round trip before the engine started; "
            "see `multinode doctor` for RDMA that is not used.",
        )


def _stage(window: Window) -> Iterator[Verdict]:
    """One stage lacks its cores, or computes all the time, and the others wait for it."""
    stages = {rank: one for rank, one in stages_of(window).items() if one.user + one.system > _IDLE}
    if len(stages) < 2:
        return
    denied = {rank: denial(one) for rank, one in stages.items()}
    rank, slower = _most(denied)
    if slower >= _DENIED and stages[rank].queued >= _LACKS:
        told = f"it waited for a core for {stages[rank].queued:.0%} of the time"
        advice = "Check that node's CPU limit and neighbours."
    else:
        # The head's own workers never sleep while they wait, so what they use says nothing of their work.
        busy = {rank: one.user for rank, one in stages.items() if rank}
        rank = max(busy, key=lambda one: busy[one], default=0)
        others = [one.user for other, one in stages.items() if other != rank]
        if not rank or busy[rank] < _BUSY or busy[rank] < _STAGE * max(others):
            return
        told = f"it computes for {busy[rank]:.0%} of the time"
        advice = "Check that node's clocks, or give it fewer layers (VLLM_PP_LAYER_PARTITION)."
    yield Verdict(
        id="stage",
        concurrency=window.concurrency,
        sentence=f"one stage is slower than the others: rank {rank} ({stages[rank].pod}); {told}.",
        evidence=tuple(
            f"rank {number}, {one.name}: {one.user:.2f} cores computing, {one.system:.2f} in the kernel, "
            f"{one.queued:.0%} of the time without a core"
            for number, one in sorted(stages.items())
        )[:_MOST_EVIDENCE],
        advice=advice,
    )


def denial(one: ProcessWindow) -> float:
    """How many times as long a process took as it would have on cores of its own.

    That compares stages although the head's workers use a whole core while they wait (vLLM's shared-memory
    queue polls with sched_yield), and the others none.
    """
    return used(one) / max(one.user + one.system, 1e-3)


def _engine(window: Window) -> Verdict:
    running = sum(one.running for one in window.engines)
    return Verdict(
        id="engine",
        concurrency=window.concurrency,
        sentence="the engine itself is the limit: it has the requests, and room for them.",
        evidence=(f"{running:.1f} of {window.concurrency} requests in flight are in the batch",),
    )

"""What limits a service, from counters: each shape alone, none of them, and their borders."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from vllm_multinode.operate.bench.samples import (
    EngineSample,
    EngineWindow,
    ProcessSample,
    ProcessWindow,
    Sample,
    Window,
    engine_of,
    window_of,
)
from vllm_multinode.operate.bench.verdicts import denial, verdicts_of
from vllm_multinode.operate.numbers import Numbers

RECORDED: Final = Path(__file__).parents[3] / "data" / "bench"
COMPUTES = {"user": 0.6, "system": 0.05, "queued": 0.0}


def engine(**changes: Any) -> EngineWindow:
    known: dict[str, Any] = {
        "name": "head",
        "running": 7.5,
        "cache": 0.3,
        "finished": 2.0,
        "done": 40,
        "latency_s": 4.0,
        "queue_s": 0.01,
        "token_s": 0.05,
    }
    return EngineWindow(**known | changes)


def process(rank: int, name: str, **changes: float) -> ProcessWindow:
    return ProcessWindow(pod=f"node-{rank}", rank=rank, name=name, **COMPUTES | changes)


def window(*engines: EngineWindow, **changes: Any) -> Window:
    known: dict[str, Any] = {
        "concurrency": 8,
        "seconds": 20,
        "looks": 20,
        "engines": engines or (engine(),),
        "processes": (
            process(0, "vllm", user=0.2),
            process(0, "VLLM::EngineCore", user=0.2),
            process(0, "VLLM::Worker_PP0"),
            process(1, "vllm", user=0.0),
            process(1, "VLLM::Worker_PP1"),
        ),
        "round_trip_ms": 0.2,
        "stages": 2,
    }
    return Window(**known | changes)


def ids(*windows: Window) -> list[str]:
    return [one.id for one in verdicts_of(windows)]


def test_a_healthy_run_has_no_bottleneck_but_the_engine() -> None:
    (found,) = verdicts_of([window()])
    assert found.id == "engine"
    assert found.sentence.startswith("the engine itself is the limit")


def slow_stage(rank: int, **changes: float) -> tuple[ProcessWindow, ...]:
    names = {0: "VLLM::Worker_PP0", 1: "VLLM::Worker_PP1"}
    return tuple(process(one, names[one], **(changes if one == rank else {"user": 0.2})) for one in names)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(window(engine(running=8, waiting=16), concurrency=24), "queue", id="queue"),
        pytest.param(window(engine(cache=0.99, waiting=4, running=4)), "cache", id="cache-full"),
        pytest.param(window(engine(preempted=12, done=40)), "cache", id="preempted"),
        pytest.param(window(engine(running=2.0)), "coordinator", id="before-the-engine"),
        pytest.param(window(round_trip_ms=40.0), "network", id="far-away"),
        pytest.param(
            window(
                processes=(
                    process(0, "VLLM::Worker_PP0", user=0.2, system=0.3),
                    process(1, "VLLM::Worker_PP1", user=0.1),
                )
            ),
            "network",
            id="tensors-arrive-slowly",
        ),
        pytest.param(window(processes=slow_stage(1, user=0.95)), "stage", id="computes"),
        pytest.param(window(processes=slow_stage(0, user=0.3, queued=0.65)), "stage", id="without-a-core"),
        pytest.param(
            window(engine(name="a"), engine(name="b", latency_s=9.0), concurrency=16),
            "replicas",
            id="slow-replica",
        ),
        pytest.param(
            window(engine(name="a", running=2), engine(name="b", running=13), concurrency=16),
            "replicas",
            id="uneven-shares",
        ),
    ],
)
def test_each_shape_alone(found: Window, expected: str) -> None:
    assert ids(found) == [expected]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param("engine", "engine", id="nothing-in-the-way"),
        pytest.param("slow-link", "network", id="1-mbit-between-the-stages"),
        pytest.param("queue", "queue", id="24-requests-for-8-places"),
        pytest.param("cache", "cache", id="contexts-too-long-for-the-cache"),
    ],
)
def test_what_a_real_engine_showed(file: str, expected: str) -> None:
    """vLLM 0.32 over two local nodes, PP 2, under mp, on two busy cores."""
    recorded = json.loads((RECORDED / f"{file}.json").read_text())
    found = window_of(recorded["concurrency"], [Sample(**one) for one in recorded["samples"]])
    assert found is not None
    assert ids(found) == [expected]


def test_an_api_server_without_a_core_left_is_told_from_a_proxy() -> None:
    saturated = window(engine(running=2.0), processes=(process(0, "vllm", user=0.9),))
    (found,) = verdicts_of([saturated])
    assert "API server is saturated" in found.sentence
    (found,) = verdicts_of([window(engine(running=2.0))])
    assert "router" in found.sentence


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(window(engine(waiting=0.4)), id="hardly-anything-waits"),
        pytest.param(window(engine(cache=0.99)), id="full-and-nobody-waits"),
        pytest.param(window(engine(preempted=1, done=40)), id="one-preempted"),
        pytest.param(
            window(round_trip_ms=40.0, stages=1, processes=(process(0, "VLLM::Worker"),)), id="one-stage"
        ),
        pytest.param(window(round_trip_ms=None), id="nobody-measured"),
        pytest.param(window(processes=(), stages=1), id="one-node-and-no-supervisor"),
        pytest.param(window(answered=44, failed=4), id="a-few-failed"),
        pytest.param(window(engine(done=30), answered=44), id="finished-before-the-first-look"),
        pytest.param(window(engine(done=60), answered=44), id="a-few-of-others"),
        pytest.param(window(engine(done=2), answered=15), id="too-few-to-compare"),
        pytest.param(window(processes=slow_stage(1, user=0.5)), id="a-stage-with-time-left"),
        pytest.param(
            window(
                processes=(
                    process(0, "VLLM::Worker_PP0", user=0.1, system=0.9),
                    process(1, "VLLM::Worker_PP1", user=0.4, system=0.0),
                )
            ),
            id="a-stage-that-spins",
        ),
        pytest.param(window(engine(name="a"), engine(name="b", latency_s=5.0), concurrency=16), id="alike"),
    ],
)
def test_what_is_no_bottleneck(found: Window) -> None:
    assert ids(found) == ["engine"]


def test_the_highest_concurrency_decides() -> None:
    assert ids(window(engine(waiting=16, running=8), concurrency=24), window()) == ["queue"]
    assert ids(window(), window(engine(waiting=16, running=8), concurrency=4)) == ["engine"]


def test_several_are_told_with_the_cause_first() -> None:
    slow = window(
        engine(name="a", cache=1.0, waiting=9),
        engine(name="b", latency_s=9.0),
        concurrency=32,
        round_trip_ms=90,
    )
    assert ids(slow)[:2] == ["replicas", "cache"]


ASLEEP: Final = (
    process(0, "VLLM::Worker_PP0", user=0.2, system=0.3),
    process(1, "VLLM::Worker_PP1", user=0.1),
)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        pytest.param([], "no engine's counters were read", id="no-rung-was-counted"),
        pytest.param([window().model_copy(update={"engines": ()})], "no engine's counters", id="no-engine"),
        pytest.param([window(looks=3)], "the rungs were too short", id="too-short"),
        pytest.param([window(answered=30, failed=10)], "too many requests failed", id="failures"),
        pytest.param(
            [window(engine(running=3, done=20), answered=44)], "some engine's counters are missing",
            id="a-replica-is-not-counted",
        ),
        pytest.param([window(engine(done=90), answered=44)], "other clients' requests", id="other-clients"),
        pytest.param(
            [window(engine(running=4, waiting=4, cache=None))], "it does not tell how full its cache is",
            id="queue-or-cache",
        ),
        pytest.param([window(engine(running=1.0), concurrency=1)], "fewer than 4 requests", id="too-few"),
        pytest.param([window(engine(running=3.95, waiting=0.95))], "no place stands out", id="nowhere"),
        pytest.param([window(processes=())], "no supervisor told of the stages", id="no-supervisor"),
        pytest.param([window(processes=(), stages=None)], "no supervisor told", id="an-address-alone"),
        pytest.param(
            [window(processes=(process(0, "VLLM::Worker_PP0"),))], "no supervisor told", id="a-silent-worker"
        ),
        pytest.param([window(stages=1)], "compute every layer together", id="tensor-parallel-over-nodes"),
        pytest.param(
            [window(processes=ASLEEP, accelerated=True)], "their GPUs compute meanwhile", id="gpus-or-network"
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_said(found: list[Window], why: str) -> None:
    (verdict,) = verdicts_of(found)
    assert verdict.id == "unclear"
    assert verdict.sentence.startswith("it is unknown what limits the service: ")
    assert why in verdict.sentence
    assert verdict.advice


def test_a_lower_rung_is_judged_where_the_highest_was_too_short() -> None:
    assert ids(window(looks=3), window(engine(waiting=16, running=8), concurrency=4)) == ["queue"]


def test_who_holds_the_requests_before_the_engine_is_not_guessed() -> None:
    (found,) = verdicts_of([window(engine(running=2.0), processes=())])
    assert found.id == "coordinator"
    assert "whether in its API server or ahead of it was not counted" in found.sentence


@pytest.mark.parametrize(
    ("found", "name", "sentence"),
    [
        pytest.param(
            window(engine(running=8, waiting=16), concurrency=24), "queue",
            "requests queue because the batch accepts no more of them.", id="queue",
        ),
        pytest.param(
            window(engine(cache=0.99, waiting=4, running=4)), "cache",
            "the KV cache is full, and requests wait for room in it.", id="cache",
        ),
        pytest.param(
            window(engine(preempted=12, done=40)), "cache",
            "the KV cache is full, and requests wait for room in it or lose it and start again.",
            id="preemptions",
        ),
        pytest.param(
            window(engine(running=2.0)), "coordinator",
            "requests wait before they reach the engine: in a router, a proxy or the client.", id="router",
        ),
        pytest.param(
            window(engine(running=2.0), processes=(process(0, "vllm", user=0.9),)), "coordinator",
            "the API server is saturated while the stages have room: requests wait in it.", id="api-server",
        ),
        pytest.param(
            window(round_trip_ms=40.0), "network",
            "the network between the stages takes a large share of the time between two tokens: it is far.",
            id="far",
        ),
        pytest.param(
            window(processes=ASLEEP), "network",
            "the network between the stages takes a large share of the time between two tokens: "
            "tensors arrive "
            "slowly.", id="narrow",
        ),
        pytest.param(
            window(processes=slow_stage(1, user=0.95)), "stage",
            "one stage is slower than the others: rank 1 (node-1); it computes for 95% of the time.",
            id="slow-stage",
        ),
        pytest.param(
            window(processes=slow_stage(0, user=0.3, queued=0.65)), "stage",
            "one stage is slower than the others: rank 0 (node-0); it waited for a core for 65% of "
            "the time.", id="denied-stage",
        ),
        pytest.param(
            window(engine(name="a"), engine(name="b", latency_s=9.0), concurrency=16), "replicas",
            "the replicas are uneven: b takes 2.2 times as long for a request as the others.",
            id="slow-replica",
        ),
        pytest.param(
            window(engine(name="a", running=2), engine(name="b", running=13), concurrency=16), "replicas",
            "the replicas are uneven: b holds 6.5 times as many requests as the others.", id="full-replica",
        ),
        pytest.param(
            window(), "engine", "the engine itself is the limit: it has the requests, and room for them.",
            id="engine",
        ),
    ],
)  # fmt: skip
def test_each_verdict_in_its_own_words(found: Window, name: str, sentence: str) -> None:
    (verdict,) = verdicts_of([found])
    assert (verdict.id, verdict.sentence) == (name, sentence)


def test_what_is_before_and_behind_the_load_is_left_out() -> None:
    idle = (EngineSample(name="head"),)
    before, behind = ([sample(at, engines=idle) for at in times] for times in ((90, 95), (115, 120, 125)))
    found = window_of(4, [*before, sample(100), sample(105), sample(110), *behind])
    assert found is not None
    assert (found.looks, found.seconds) == (5, 20)
    assert found.engines[0].running == 3


def test_denial_is_the_time_that_own_cores_would_have_saved() -> None:
    assert denial(process(1, "VLLM::Worker", user=0.2, system=0.0, queued=0.6)) == pytest.approx(4)
    assert denial(process(1, "VLLM::Worker", user=0.2, system=0.1, queued=0.0)) == pytest.approx(1)


EXPOSITION = """
vllm:num_requests_running{engine="0"} 3
vllm:num_requests_waiting{engine="0"} 1
vllm:kv_cache_usage_perc{engine="0"} 0.5
vllm:request_success_total{finished_reason="stop"} 10
vllm:e2e_request_latency_seconds_sum 20
vllm:e2e_request_latency_seconds_count 10
"""


def sample(at: float, **changes: Any) -> Sample:
    read = engine_of("head", Numbers.read(EXPOSITION))
    one = ProcessSample(pod="head", rank=0, name="vllm", user_s=at, system_s=at / 2, queued_s=0)
    return Sample(**{"at": at, "engines": (read,), "processes": (one,), "stages": 2} | changes)


def test_a_window_is_the_difference_of_its_ends() -> None:
    last = EngineSample(
        name="head",
        running=3,
        counts={
            "vllm:request_success_total": 30,
            "vllm:e2e_request_latency_seconds_sum": 50,
            "vllm:e2e_request_latency_seconds_count": 30,
        },
    )
    found = window_of(4, [sample(100), sample(105), sample(110, engines=(last,))])
    assert found is not None
    assert found.seconds == 10
    (counted,) = found.engines
    assert (counted.finished, counted.done, counted.latency_s) == (2, 20, 1.5)
    assert (counted.running, counted.waiting, counted.cache) == (3, 1, 0.5)
    assert [(one.user, one.system) for one in found.processes] == [(1, 0.5)]


def test_an_engine_that_has_started_again_counts_from_zero() -> None:
    again = EngineSample(name="head", counts={"vllm:request_success_total": 4})
    younger = ProcessSample(pod="head", rank=0, name="vllm", user_s=1, system_s=0)
    found = window_of(4, [sample(100), sample(110, engines=(again,), processes=(younger,))])
    assert found is not None
    assert found.engines[0].done == 4
    assert found.processes == ()


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param([], id="none"),
        pytest.param([sample(1)], id="one"),
        pytest.param([sample(1)] * 2, id="at-once"),
    ],
)
def test_too_few_looks_make_no_window(samples: list[Sample]) -> None:
    assert window_of(1, samples) is None


def test_the_farthest_nodes_usual_round_trip_counts() -> None:
    trips = [{"a": 0.1, "b": 5.0}, {"a": 0.1, "b": 7.0}, {"a": 90.0}]
    found = window_of(4, [sample(100 + number, round_trips=one) for number, one in enumerate(trips)])
    assert found is not None
    assert found.round_trip_ms == 7.0

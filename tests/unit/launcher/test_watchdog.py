import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from unit.launcher.vllm_api import Vllm
from vllm_multinode.launcher.engine_api import EngineApi, Sample
from vllm_multinode.launcher.watchdog import Progress, watch

HANG = 0.2


def sample(step: float, load: float = 0, requests: float = 0) -> Sample:
    return Sample(load=load, requests=requests, step=(requests, step))


class TestProgress:
    def test_idle_is_never_hung(self) -> None:
        progress = Progress(patience=10)
        assert [progress.judge(sample(5), now) for now in (0, 100, 1000)] == [None, None, None]

    def test_busy_is_never_hung_however_long_the_queue(self) -> None:
        progress = Progress(patience=10)
        for now in range(0, 1000, 9):
            assert progress.judge(sample(now, load=5000, requests=5000), now) is None

    @pytest.mark.parametrize(
        "stuck",
        [pytest.param(sample(5, requests=1), id="scheduled"), pytest.param(sample(5, load=1), id="counted")],
    )
    def test_hung_is_no_progress_for_the_time_out(self, stuck: Sample) -> None:
        progress = Progress(patience=10)
        assert progress.judge(stuck, 0) is None
        assert progress.judge(stuck, 9.9) is None
        assert progress.judge(stuck, 10) == 10

    def test_the_clock_starts_with_the_request_not_with_the_last_progress(self) -> None:
        progress = Progress(patience=10)
        progress.judge(sample(5), 0)
        progress.judge(sample(5), 100)
        assert progress.judge(sample(5, load=1), 105) is None
        assert progress.judge(sample(5, load=1), 110) == 10

    def test_a_counter_that_falls_is_progress_too(self) -> None:
        progress = Progress(patience=10)
        progress.judge(sample(5, load=1), 0)
        assert progress.judge(sample(0, load=1), 20) is None

    @pytest.mark.parametrize("leaked", [pytest.param(3, id="leaked"), pytest.param(-3, id="below-zero")])
    def test_a_load_that_has_drifted_is_the_idle_value_once_forgiven(self, leaked: float) -> None:
        progress = Progress(patience=10)
        progress.judge(sample(5), 0)
        assert progress.judge(sample(5, load=leaked), 20) == 20
        progress.forgive(sample(6, load=leaked))
        for now in range(30, 300, 10):
            assert progress.judge(sample(6, load=leaked), now) is None

    @pytest.mark.parametrize("idle", [pytest.param(3, id="leaked"), pytest.param(-3, id="below-zero")])
    def test_a_load_that_has_drifted_hides_no_hang(self, idle: float) -> None:
        progress = Progress(patience=10)
        progress.forgive(sample(5, load=idle))
        progress.judge(sample(5, load=idle), 0)
        progress.judge(sample(5, load=idle + 1), 1)
        # The client gives up, and the request is counted down; the engine has taken no step since.
        assert progress.judge(sample(5, load=idle), 2) is None
        assert progress.judge(sample(5, load=idle), 12) == 12

    def test_a_forgiven_request_is_counted_from_then_on(self) -> None:
        progress = Progress(patience=10)
        progress.judge(sample(5, requests=1), 0)
        progress.forgive(sample(5, load=1, requests=1))
        assert progress.judge(sample(5, load=1, requests=1), 20) is None
        assert progress.judge(sample(5, load=1, requests=1), 30) == 10


@pytest.fixture
def vllm() -> Vllm:
    return Vllm()


@pytest.fixture
async def api(vllm: Vllm) -> AsyncIterator[EngineApi]:
    async with vllm.served_to() as api:
        yield api


async def verdict(api: EngineApi) -> str:
    async with asyncio.timeout(60):
        return await watch(api, HANG)


async def test_a_dead_engine_is_told_by_its_health(api: EngineApi, vllm: Vllm) -> None:
    vllm.health = 503
    assert await verdict(api) == "vLLM's /health says that its engine is dead"


async def test_a_hung_engine_is_told_by_its_counters(api: EngineApi, vllm: Vllm) -> None:
    vllm.load = vllm.running = 2
    assert (await verdict(api)).startswith("hung: 2 requests under way and no progress for")


async def test_a_long_step_is_told_from_a_hang_by_the_canary_that_the_scheduler_takes_in(
    api: EngineApi, vllm: Vllm
) -> None:
    # No token moves and the canary waits behind the others, but it is counted.
    vllm.load = vllm.running = 300
    vllm.answers, vllm.queues = False, True
    assert await watched_in_vain(api, 10 * HANG, lambda: len(vllm.asked) > 1)


@pytest.mark.parametrize("status", [pytest.param(s, id=str(s)) for s in (200, 400, 404, 422, 500)])
async def test_an_idle_server_that_answers_anything_lives(api: EngineApi, vllm: Vllm, status: int) -> None:
    vllm.load, vllm.answer = 1, status
    assert await watched_in_vain(api, 5 * HANG, lambda: bool(vllm.asked))


async def test_an_error_is_no_sign_of_a_scheduler_that_has_requests(api: EngineApi, vllm: Vllm) -> None:
    vllm.running, vllm.answer = 1, 400
    assert (await verdict(api)).startswith("hung: 1 requests")


async def test_a_load_that_each_canary_counts_down_twice_is_asked_about_once(
    api: EngineApi, vllm: Vllm
) -> None:
    vllm.load, vllm.twice = -1, True
    assert await watched_in_vain(api, 8 * HANG, lambda: bool(vllm.asked))
    assert len(vllm.asked) == 1


async def test_the_time_to_answer_does_not_come_on_top_of_the_time_out(
    api: EngineApi, vllm: Vllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    async def silent(seconds: float) -> None:
        given.append(seconds)
        await asyncio.sleep(seconds)

    monkeypatch.setattr(api, "canary", silent)
    vllm.load = vllm.running = 1
    async with asyncio.timeout(30):
        reason = await watch(api, 2)
    # Asked after half of it at the earliest; told a second after it at the latest, by the watchdog's clock.
    assert 0 < given[0] <= 2
    assert reason == "hung: 1 requests under way and no progress for 3 s"


async def test_hung_from_idle_is_told_by_a_canary_that_gets_no_answer(api: EngineApi, vllm: Vllm) -> None:
    vllm.load, vllm.answers = 1, False
    assert (await verdict(api)).startswith("hung: 1 requests")
    assert vllm.asked == [{"model": "llm", "prompt": "a", "max_tokens": 1}]
    assert vllm.keys == ["Bearer s3cret"]


async def test_an_api_server_that_falls_silent(
    api: EngineApi, vllm: Vllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = api.healthy
    monkeypatch.setattr(api, "healthy", lambda: healthy(timeout=0.05))
    vllm.silent = True
    assert (await verdict(api)).startswith("the API server has not answered for")


async def watched_in_vain(api: EngineApi, seconds: float, until: Callable[[], bool] = lambda: True) -> bool:
    """Whether nothing was found for so long, and on a slow machine until that has come about."""
    watching = asyncio.create_task(watch(api, HANG))
    try:
        await asyncio.wait({watching}, timeout=seconds)
        async with asyncio.timeout(60):
            while not (watching.done() or until()):
                await asyncio.sleep(0.02)
        return not watching.done()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_busy_engine_is_left_alone(api: EngineApi, vllm: Vllm) -> None:
    vllm.load, vllm.running, vllm.advances = 5000, 256, True
    assert await watched_in_vain(api, 3 * HANG + 0.1)


async def test_a_leaked_load_is_forgiven_once_a_canary_is_answered(api: EngineApi, vllm: Vllm) -> None:
    vllm.load = 1
    assert await watched_in_vain(api, 5 * HANG, lambda: bool(vllm.asked))

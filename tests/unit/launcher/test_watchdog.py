import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from vllm_multinode.launcher.watchdog import EngineApi, Progress, Sample, parse_metrics, watch

METRICS = (Path(__file__).parents[2] / "data" / "vllm_metrics.txt").read_text()
"""Of a real engine that had answered five requests with 64 tokens each."""

HANG = 0.2


def sample(step: float, load: float = 0, requests: float = 0) -> Sample:
    return Sample(load=load, requests=requests, step=(requests, step))


def test_a_real_exposition_is_read() -> None:
    found = parse_metrics(METRICS, load=2)
    assert (found.load, found.requests) == (2, 0)
    # Prompt tokens, generated tokens, iterations, requests ended.
    assert {32, 320, 5} <= set(found.step)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        pytest.param("prefill", "vllm:kv_cache_usage_perc", id="prefill"),
        pytest.param("prefill", "vllm:gpu_cache_usage_perc", id="prefill-before-0.12"),
        pytest.param("decode", "vllm:generation_tokens_total", id="decode"),
        pytest.param("speculation", "vllm:spec_decode_num_drafts_total", id="speculative-decoding"),
        pytest.param("pooling", "vllm:request_success_total", id="pooling"),
        pytest.param("queue", "vllm:num_requests_waiting", id="queue"),
    ],
)
def test_each_kind_of_work_has_a_sign(name: str, line: str) -> None:
    before = parse_metrics(f'{line}{{engine="0",kind="{name}"}} 0.25\n', load=1)
    after = parse_metrics(f'{line}{{engine="0",kind="{name}"}} 0.26\n', load=1)
    assert before.step != after.step


def test_every_engine_and_a_number_in_any_notation_counts() -> None:
    text = (
        'vllm:num_requests_running{engine="0"} 1.0\n'
        'vllm:num_requests_running{engine="1"} 2e+00\n'
        "vllm:num_requests_waiting 3\n"
        'vllm:num_requests_waiting_by_reason{reason="capacity"} 100.0\n'
        'vllm:generation_tokens_total{engine="0"} 1.5e+06\n'
        'vllm:generation_tokens_created{engine="0"} 1.7952591958813734e+09\n'
    )
    assert parse_metrics(text, load=0) == Sample(load=0, requests=6, step=(1, 2, 3, 1.5e6))


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


@dataclass
class Vllm:
    """What the stand-in of vLLM's API answers."""

    health: int = 200
    load: int = 0
    running: int = 0
    tokens: int = 320
    silent: bool = False
    answers: bool = True
    answer: int = 200
    queues: bool = False
    twice: bool = False
    advances: bool = False
    served: str = "llm"
    pooling: bool = False
    asked: list[dict[str, object]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/load", self._load)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/pooling" if self.pooling else "/v1/completions", self._complete)
        return app

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": self.served}]})

    async def _pause(self) -> None:
        if self.silent:
            await asyncio.Event().wait()

    async def _health(self, _: web.Request) -> web.Response:
        await self._pause()
        return web.Response(status=self.health)

    async def _load(self, _: web.Request) -> web.Response:
        return web.json_response({"server_load": self.load})

    async def _metrics(self, _: web.Request) -> web.Response:
        self.tokens += self.advances
        text = METRICS.replace('running{engine="0",model_name="tiny"} 0.0', f"running 0{self.running}")
        return web.Response(text=text.replace(" 320.0", f" {self.tokens}"))

    async def _complete(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        self.running += self.queues
        if not self.answers:
            await asyncio.Event().wait()
        self.load -= self.twice
        return web.json_response({"choices": []}, status=self.answer)


@pytest.fixture
def vllm() -> Vllm:
    return Vllm()


@pytest.fixture
async def api(vllm: Vllm) -> AsyncIterator[EngineApi]:
    server = TestServer(vllm.application())
    await server.start_server(shutdown_timeout=0.01)
    assert server.port is not None
    async with EngineApi(server.port, tls=None, api_key="s3cret", model="llm") as found:
        yield found
    await server.close()


async def test_what_it_answers(api: EngineApi, vllm: Vllm) -> None:
    vllm.load, vllm.running = 3, 2
    assert await api.healthy() is True
    found = await api.sample()
    assert found is not None
    assert (found.load, found.requests) == (3, 2)
    vllm.health = 503
    assert await api.healthy() is False
    vllm.silent = True
    assert await api.healthy(timeout=0.05) is None


async def test_nobody_there(unused_tcp_port: int) -> None:
    async with EngineApi(unused_tcp_port, tls=None, api_key=None, model=None) as nobody:
        assert await nobody.healthy() is None
        assert await nobody.sample() is None
        assert not await nobody.canary(timeout=1)


async def verdict(api: EngineApi, timeout: float = 5) -> str:
    async with asyncio.timeout(timeout):
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
    assert await watched_in_vain(api, 10 * HANG)
    assert len(vllm.asked) > 1


@pytest.mark.parametrize("status", [pytest.param(s, id=str(s)) for s in (200, 400, 404, 422, 500)])
async def test_an_idle_server_that_answers_anything_lives(api: EngineApi, vllm: Vllm, status: int) -> None:
    vllm.load, vllm.answer = 1, status
    assert await watched_in_vain(api, 5 * HANG)
    assert vllm.asked


async def test_an_error_is_no_sign_of_a_scheduler_that_has_requests(api: EngineApi, vllm: Vllm) -> None:
    vllm.running, vllm.answer = 1, 400
    assert (await verdict(api)).startswith("hung: 1 requests")


async def test_the_canary_asks_for_a_name_that_is_served(api: EngineApi, vllm: Vllm) -> None:
    vllm.served = "another-name"
    assert await api.canary(timeout=1) == 200
    assert vllm.asked[0]["model"] == "another-name"


async def test_a_load_that_each_canary_counts_down_twice_is_asked_about_once(
    api: EngineApi, vllm: Vllm
) -> None:
    vllm.load, vllm.twice = -1, True
    assert await watched_in_vain(api, 8 * HANG)
    assert len(vllm.asked) == 1


async def test_the_canary_of_a_pooling_model() -> None:
    vllm = Vllm(pooling=True)
    async with TestServer(vllm.application()) as server:
        assert server.port is not None
        async with EngineApi(server.port, tls=None, api_key=None, model="llm") as api:
            assert await api.canary(timeout=1) == 200
    assert vllm.asked == [{"model": "llm", "input": "a"}]


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


async def watched_in_vain(api: EngineApi, seconds: float) -> bool:
    try:
        await verdict(api, seconds)
    except TimeoutError:
        return True
    return False


async def test_a_busy_engine_is_left_alone(api: EngineApi, vllm: Vllm) -> None:
    vllm.load, vllm.running, vllm.advances = 5000, 256, True
    assert await watched_in_vain(api, 3 * HANG + 0.1)


async def test_a_leaked_load_is_forgiven_once_a_canary_is_answered(api: EngineApi, vllm: Vllm) -> None:
    vllm.load = 1
    assert await watched_in_vain(api, 5 * HANG)
    assert vllm.asked

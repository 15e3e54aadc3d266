from collections.abc import AsyncIterator

import pytest

from unit.launcher.vllm_api import METRICS, Vllm
from vllm_multinode.launcher.engine_api import EngineApi, Sample, parse_metrics


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


@pytest.fixture
def vllm() -> Vllm:
    return Vllm()


@pytest.fixture
async def api(vllm: Vllm) -> AsyncIterator[EngineApi]:
    async with vllm.served_to() as api:
        yield api


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


async def test_the_canary_asks_for_a_name_that_is_served(api: EngineApi, vllm: Vllm) -> None:
    vllm.served = "another-name"
    assert await api.canary(timeout=1) == 200
    assert vllm.asked[0]["model"] == "another-name"


async def test_the_canary_of_a_pooling_model() -> None:
    vllm = Vllm(pooling=True)
    async with vllm.served_to() as api:
        assert await api.canary(timeout=1) == 200
    assert vllm.asked == [{"model": "llm", "input": "a"}]

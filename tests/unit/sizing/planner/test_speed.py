"""Bounds on tokens a second: published speeds stay below them, and they fall as requests grow."""

from dataclasses import replace
from typing import Any

import pytest

from unit.sizing.models import config, small, source
from vllm_multinode.sizing.model.sources import find_model
from vllm_multinode.sizing.planner.cuts import Planner
from vllm_multinode.sizing.planner.plan import choose
from vllm_multinode.sizing.planner.report import as_text
from vllm_multinode.sizing.planner.request import Gpu, Request, Settings, find_gpu
from vllm_multinode.sizing.planner.speculative import Speculation
from vllm_multinode.sizing.planner.speed import SHORT, Speed


def speed(name: str, gpu: str, tp: int, pp: int, **asked: Any) -> Speed:
    request = Request(find_model(name), find_gpu(gpu)[0], **asked)
    return Planner(request).choice(tp, pp, pp, tp).speed


@pytest.mark.parametrize(
    ("name", "gpu", "sizes", "published"),
    [
        pytest.param("llama-3.3-70b-instruct", "H100", (4, 1), 73.5, id="llama-70b"),
        pytest.param("deepseek-r1-0528", "H100", (8, 2), 43, id="deepseek-r1-over-two-nodes"),
        pytest.param("deepseek-r1-0528", "B200", (8, 1), 368, id="deepseek-r1-even-with-mtp"),
    ],
)
def test_published_single_streams_stay_below(
    name: str, gpu: str, sizes: tuple[int, int], published: float
) -> None:
    found = speed(name, gpu, *sizes).stream_tokens_per_s
    assert found is not None
    assert found > published


def test_the_first_bound_is_of_short_requests_and_the_last_of_full_ones() -> None:
    found = speed("deepseek-r1-0528", "H200", 8, 1).bounds
    assert [bound.context for bound in found] == [SHORT, 8192, 163840]
    assert found[0].one > found[1].one > found[2].one


def test_a_batch_reads_the_experts_that_are_expected_to_be_used() -> None:
    """Between those of one token and all: what one token reads, times the requests, would be too slow."""
    alone = speed("qwen3-30b-a3b", "H100", 1, 1, context=1024).bounds[0]
    eight = speed("qwen3-30b-a3b", "H100", 1, 1, context=1024, concurrency=8).bounds[0]
    assert alone.one < eight.together < 8 * alone.one
    planner = Planner(Request(find_model("qwen3-30b-a3b"), find_gpu("H100")[0], context=1024))
    part = planner.request.source.cut(1).stages(1)[0]
    dense, routed = part.active - part.routed * 8 / 128, part.routed
    read = dense + routed * (1 - (1 - 8 / 128) ** 8)
    cache = planner.choice(1, 1, 1, 1).cache
    cached = 8 * cache.blocks(1024) * cache.stage_block_bytes[0]
    assert eight.together == pytest.approx(8 * 3350e9 / (read + cached), rel=1e-6)


def test_a_sparse_indexer_reads_less_than_the_whole_cache() -> None:
    whole = config("deepseek-v3") | {"max_position_embeddings": 131072, "rope_scaling": None}
    sparse = whole | {"index_topk": 2048, "index_n_heads": 64, "index_head_dim": 128}
    gpu = Gpu("GPU", 4096, 3000.0)
    dense, chosen = (
        Planner(Request(source(found), gpu)).choice(1, 1, 1, 1).speed.bounds[-1].one
        for found in (whole, sparse)
    )
    assert chosen > dense


def test_speculative_decoding_has_no_bound_and_the_answer_says_so() -> None:
    settings = Settings(speculation=Speculation("ngram"))
    request = Request(source(small()), Gpu("GPU", 80, 3000.0), settings=settings)
    assert "no upper bound is known" in as_text(choose(request))
    assert "without speculative decoding" in as_text(choose(replace(request, settings=Settings())))

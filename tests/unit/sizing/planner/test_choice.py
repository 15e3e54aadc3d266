"""What is chosen, and what is said of a cut that was asked for."""

from dataclasses import replace
from typing import Any

import pytest

from unit.sizing.models import config, request, small, source
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.model.sources import find_model
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.plan import choose
from vllm_multinode.sizing.planner.profiling import GIB
from vllm_multinode.sizing.planner.report import as_object, as_text
from vllm_multinode.sizing.planner.request import Gpu, Request, Settings, find_gpu
from vllm_multinode.sizing.planner.speculative import read_speculation


def plan(name: str, gpu: str, **asked: Any) -> Plan:
    return choose(Request(find_model(name), find_gpu(gpu)[0], **asked))


def with_left(spare_gib: float) -> Plan:
    """A plan for one GPU with so much left of what vLLM takes."""
    asked: dict[str, Any] = {"node_gpus": (1,), "gpus_per_node": 1, "context": 8192, "concurrency": 60}
    roomy = choose(request(small(), 400, **asked))
    assert roomy.best is not None
    needed = (roomy.best.memory.usable - roomy.best.memory.left) / GIB
    gib = (needed + spare_gib) / roomy.request.utilization
    settings = Settings(tokens=roomy.best.batch.tokens, requests=roomy.best.batch.requests)
    return choose(request(small(), gib, settings=settings, **asked))


@pytest.mark.parametrize(
    ("spare", "verdict", "says"),
    [
        pytest.param(2.0, "fits", "fits on 1 node x 1 GPU", id="sure"),
        pytest.param(0.1, "within-error", "but within the estimate's error: 0.1 GiB are left", id="tight"),
        pytest.param(-0.1, "within-error", "may fit on", id="short-by-less-than-the-error"),
        pytest.param(-2.0, "does-not-fit", "does not fit", id="short"),
    ],
)
def test_a_verdict_is_one_of_three(spare: float, verdict: str, says: str) -> None:
    found = with_left(spare)
    assert found.verdict == verdict
    assert says in as_text(found).splitlines()[0]
    assert as_object(found)["fits"] is (verdict == "fits")


def test_what_is_tight_names_what_makes_it_sure() -> None:
    reasons = " ".join(with_left(0.1).reasons)
    assert "fits with the error included" in reasons
    assert "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=0" in reasons


def test_fewest_gpus_do_not_win_where_the_error_is_larger_than_what_is_left() -> None:
    alone = with_left(0.1)
    gpu = alone.request.gpu
    found = choose(replace(alone.request, gpu=gpu, node_gpus=(2,)))
    assert found.best is not None
    assert (found.best.gpus, found.verdict) == (2, "fits")
    assert any("give or take" in reason for reason in found.reasons)


def test_a_published_recipe_of_two_nodes_is_two_nodes() -> None:
    best = plan("kimi-k2-instruct", "H200", context=131072).best
    assert best is not None
    assert (best.nodes, best.tensor_parallel, best.pipeline_parallel) == (2, 8, 2)


def test_a_cut_that_was_asked_for_stands_beside_the_better_one() -> None:
    found = plan("llama-3.3-70b-instruct", "H100", tensor_parallel=2)
    assert found.best is not None
    assert (found.best.tensor_parallel, found.verdict) == (2, "does-not-fit")
    assert [choice.tensor_parallel for choice in found.alternatives] == [4]
    assert "plan's own choice" in found.alternatives[0].reason


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        pytest.param({"tensor_parallel": 3}, "64 attention heads are not divisible", id="heads"),
        pytest.param(
            {"tensor_parallel": 8, "pipeline_parallel": 2, "node_gpus": (8,)}, "16 GPUs", id="nodes"
        ),
    ],
)
def test_a_cut_that_cannot_be_is_one_line(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(MultinodeError) as refusal:
        plan("llama-3.3-70b-instruct", "H100", **asked)
    assert refusal.value.code is ExitCode.SIZES
    assert says in refusal.value.what


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("deepseek-v3", "Latent attention is not divided", id="latent"),
        pytest.param("qwen3-30b-a3b", "4 KV heads over TP 8: each is cached 2 times", id="few-kv-heads"),
    ],
)
def test_a_cache_that_tp_does_not_divide_is_said(name: str, says: str) -> None:
    found = choose(Request(source(config(name)), Gpu("GPU", 140, 3000.0), context=4096, tensor_parallel=8))
    assert says in " ".join(found.reasons)


def test_alternatives_are_sizes_that_somebody_would_run() -> None:
    for name in ("llama-3.1-8b-instruct", "deepseek-r1-0528", "qwen3-235b-a22b-fp8"):
        found = plan(name, "H200", context=32768)
        sizes = [(choice.nodes, choice.gpus) for choice in found.alternatives]
        assert len(sizes) == len(set(sizes))
        assert all(gpus in (1, 2, 4, 8) for nodes, gpus in sizes if nodes == 1)


def test_an_odd_node_is_told_what_an_even_one_could_do() -> None:
    found = choose(
        Request(source(config("llama-3.3-70b")), Gpu("GPU", 40, 2000.0), gpus_per_node=3, context=8192)
    )
    assert "with 2 of them (--gpus-per-node 2) TP 2 is possible" in " ".join(found.reasons)


def test_a_guess_is_said_in_the_headline() -> None:
    found = choose(request(small(model_type="unheard_of", architectures=["UnheardOfForCausalLM"])))
    assert "This is a guess" in as_text(found).splitlines()[0]


def test_the_engines_own_words_and_every_stage() -> None:
    found = plan("llama-3.1-8b-instruct", "H100", pipeline_parallel=2, context=8192)
    text, answer = as_text(found), as_object(found)
    assert "Available KV cache memory: " in text
    assert "(by stage)" in text
    assert f"GPU KV cache size: {answer['kv_cache_tokens']:,} tokens" in text
    assert len(answer["stages"]) == 2
    assert answer["stages"][0]["Available KV cache memory"].endswith(" GiB")
    assert answer["asked"]["pipeline_parallel"] == 2


@pytest.mark.parametrize(
    ("name", "given", "layers"),
    [
        pytest.param("deepseek-v3", '{"method": "mtp", "num_speculative_tokens": 2}', 1, id="own-layers"),
        pytest.param("deepseek-v3", '{"method": "ngram", "num_speculative_tokens": 4}', 0, id="text-alone"),
    ],
)
def test_speculative_decoding_loads_what_its_method_needs(name: str, given: str, layers: int) -> None:
    model = source(config(name))
    speculation = read_speculation(given, model.model, find_model)
    assert speculation.layers == layers
    plain = Request(model, Gpu("GPU", 140, 3000.0), tensor_parallel=8, context=4096)
    without = choose(plain).best
    beside = choose(replace(plain, settings=Settings(speculation=speculation))).best
    assert without is not None
    assert beside is not None
    assert (beside.memory.weights > without.memory.weights) == bool(layers)
    more = beside.cache.stage_block_bytes[0] - without.cache.stage_block_bytes[0]
    assert more == layers * without.cache.stage_block_bytes[0] // len(model.model.layers)


def test_a_draft_model_is_loaded_and_caches_beside_the_model() -> None:
    target, draft = source(config("llama-3.1-8b")), source(small())
    speculation = read_speculation('{"model": "draft"}', target.model, lambda _: draft)
    gpu = Gpu("GPU", 80, 3000.0)
    without = choose(Request(target, gpu, tensor_parallel=1, context=4096)).best
    settings = Settings(speculation=speculation)
    beside = choose(Request(target, gpu, tensor_parallel=1, context=4096, settings=settings)).best
    assert without is not None
    assert beside is not None
    assert beside.memory.weights - without.memory.weights == round(draft.cut(1).stages(1)[0].loaded)
    assert beside.cache.stage_block_bytes[0] - without.cache.stage_block_bytes[0] == 8 * 4 * 2 * 64 * 16 * 2


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("{", id="truncated"),
        pytest.param("[]", id="no-object"),
        pytest.param("{}", id="neither-method-nor-model"),
        pytest.param('{"method": "eagle3"}', id="a-method-without-its-model"),
        pytest.param('{"method": "mtp"}', id="a-model-without-such-layers"),
        pytest.param('{"method": "ngram", "num_speculative_tokens": [1]}', id="a-list-for-a-number"),
    ],
)
def test_a_speculative_configuration_that_is_none_is_one_line(given: str) -> None:
    with pytest.raises(MultinodeError) as refusal:
        read_speculation(given, source(small()).model, find_model)
    assert refusal.value.code is ExitCode.USAGE
    assert str(refusal.value).startswith("--speculative-config: ")

"""What holds for every model, GPU and wish; nothing ever divides by zero."""

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unit.sizing.models import config, names, request, small, source
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.explain import explain
from vllm_multinode.sizing.planner.plan import choose
from vllm_multinode.sizing.planner.report import as_object, as_text
from vllm_multinode.sizing.planner.request import Gpu, Request

KINDS = ("llama-3.1-8b", "mixtral-8x7b", "deepseek-v2-lite", "gemma-3-27b-text", "jamba-mini", "falcon-7b")
SOURCES = {name: source(config(name)) for name in KINDS}
KIND = st.sampled_from(KINDS)
CONTEXT = st.integers(1, 8192)


def plan(name: str, gib: float, context: int, **fields: Any) -> Plan:
    limit = SOURCES[name].model.max_context or context
    gpu = Gpu("GPU", gib, 3000.0, 400.0, 50.0, 900.0)
    return choose(Request(SOURCES[name], gpu, context=min(context, limit), **fields))


def needed(found: Plan) -> int:
    return found.best.nodes if found.fits and found.best else 1 << 30


@given(
    name=KIND,
    gib=st.integers(8, 190),
    more=st.integers(0, 60),
    context=CONTEXT,
    each=st.sampled_from([1, 4, 8]),
)
def test_more_memory_never_needs_more_nodes(name: str, gib: int, more: int, context: int, each: int) -> None:
    less = plan(name, gib, context, gpus_per_node=each)
    assert needed(plan(name, gib + more, context, gpus_per_node=each)) <= needed(less)


@given(
    name=KIND, gib=st.integers(8, 141), context=CONTEXT, longer=st.integers(0, 8192), many=st.integers(1, 200)
)
def test_a_longer_context_never_needs_fewer_nodes(
    name: str, gib: int, context: int, longer: int, many: int
) -> None:
    short = plan(name, gib, context, concurrency=many)
    assert needed(plan(name, gib, context + longer, concurrency=many)) >= needed(short)


@given(
    name=KIND, gib=st.integers(16, 190), nodes=st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=6)
)
def test_tp_times_pp_times_replicas_is_gpus(name: str, gib: int, nodes: list[int]) -> None:
    found = plan(name, gib, 1024, node_gpus=tuple(nodes))
    assume(found.fits)
    best = found.best
    assert best is not None
    assert best.tensor_parallel * best.pipeline_parallel == best.nodes * best.gpus_per_node
    total = as_object(found)["total_gpus"]
    assert total == best.tensor_parallel * best.pipeline_parallel * found.replicas
    assert total <= sum(nodes)


@given(name=st.sampled_from(names()), tp=st.sampled_from([1, 2, 4]), pp=st.integers(1, 12))
def test_the_fullest_stage_is_never_below_the_mean(name: str, tp: int, pp: int) -> None:
    found = source(config(name)).cut(tp)
    stages = [part.loaded for part in found.stages(min(pp, len(found.layers)))]
    assert max(stages) >= sum(stages) / len(stages) > 0


@given(name=KIND, gib=st.integers(16, 190), context=CONTEXT, many=st.integers(1, 64))
def test_the_greatest_context_and_concurrency_fit_and_no_more(
    name: str, gib: int, context: int, many: int
) -> None:
    found = plan(name, gib, context, concurrency=many)
    assume(found.fits)
    best = found.best
    assert best is not None
    assert best.max_concurrency >= many
    assert best.max_context >= found.context
    cache = best.cache
    assert min(cache.requests(best.blocks, found.context), best.batch.requests) == best.max_concurrency
    if best.max_context < (SOURCES[name].model.max_context or 1 << 24):
        assert cache.requests(best.blocks, best.max_context + 1) < many


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4),
    st.lists(st.integers(-1, 9), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
FIELDS = sorted(
    {key for name in names() for key in config(name)}
    | {key for name in names() for key in config(name).get("text_config", {})}
)


def planned(found: dict[str, Any]) -> Plan | str:
    """The plan, or the one line that rejects the configuration."""
    try:
        return choose(request(found, context=1))
    except MultinodeError as error:
        return str(error)


@pytest.mark.parametrize("name", [None, *KINDS, "qwen3-next-80b", "nemotron-nano-9b-v2", "kimi-linear-48b"])
@given(changes=st.dictionaries(st.sampled_from(FIELDS), ODD | st.integers(1, 64), max_size=4))
def test_any_configuration_gives_a_plan_or_one_line(name: str | None, changes: dict[str, Any]) -> None:
    made = planned((config(name) if name else small()) | changes)
    if isinstance(made, str):
        assert made
        assert "\n" not in made
        return
    json.dumps(as_object(made), allow_nan=False)
    assert as_text(made)
    assert explain(made)


INNER = (
    "quant_method", "bits", "group_size", "weight_block_size", "model_type", "hidden_size", "depth",
    "intermediate_size", "num_hidden_layers", "patch_size", "image_size", "factor", "type", "config_groups",
    "ignore", "modules_to_not_convert", "dynamic",
)  # fmt: skip
WORDS = ("fp8", "awq", "gptq", "compressed-tensors", "clip_vision_model", "qwen2_vl", "yarn")
NESTED = st.dictionaries(
    st.sampled_from(INNER), ODD | st.sampled_from(WORDS) | st.integers(1, 64), max_size=5
)


@given(name=st.sampled_from(["vision_config", "quantization_config", "rope_scaling"]), inner=NESTED)
def test_any_nested_object_gives_a_plan_or_one_line(name: str, inner: dict[str, Any]) -> None:
    made = planned(small() | {name: inner})
    if isinstance(made, str):
        assert "\n" not in made
        return
    assert made.best
    json.dumps(as_object(made), allow_nan=False)
    assert explain(made)

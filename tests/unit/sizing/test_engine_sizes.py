"""What vLLM's own layers hold on every rank, recorded from it, is what the plan counts."""

import json
from collections import Counter
from typing import Any

import pytest

from unit.sizing.models import DATA, config
from vllm_multinode.checkpoint.stages import layer_split
from vllm_multinode.engines.vllm import vllm_named
from vllm_multinode.sizing.model.architecture import Architecture, read_architecture
from vllm_multinode.sizing.model.layers import LatentAttention
from vllm_multinode.sizing.model.splits import cut
from vllm_multinode.sizing.planner.kv_cache import kv_cache, layer_pages
from vllm_multinode.sizing.planner.loading import Device
from vllm_multinode.sizing.planner.rules import refusals

RECORDED: dict[str, dict[str, Any]] = json.loads((DATA / "engine.json").read_text())
BLOCK = 16
CASES = [
    pytest.param(name, *map(int, cut_.split("x")), found, id=f"{name}-{cut_}")
    for name, cuts in RECORDED.items()
    for cut_, found in cuts.items()
]
BUILT = [case for case in CASES if isinstance(case.values[3], dict) and "weights" in case.values[3]]


def derived_after_loading(model: Architecture, tp: int, stage: int, pp: int) -> float:
    """Latent attention's second form, which the engine makes of what it has loaded."""
    sizes = layer_split(len(model.layers), pp)
    first = sum(sizes[:stage])
    layers = model.layers[first : first + sizes[stage]]
    mixers = [mixer for layer in layers for mixer in layer.mixers if isinstance(mixer, LatentAttention)]
    weights = [weight for mixer in mixers for weight in mixer.weights(model.hidden) if not weight.stored]
    return sum(weight.elements for weight in weights) * model.dtype_bytes / tp


@pytest.mark.parametrize(("name", "tp", "pp", "found"), BUILT)
def test_weights_of_every_stage(name: str, tp: int, pp: int, found: dict[str, Any]) -> None:
    model = read_architecture(config(name))
    counted = [
        part.loaded - derived_after_loading(model, tp, stage, pp)
        for stage, part in enumerate(cut(model, tp).stages(pp))
    ]
    assert counted == pytest.approx(found["weights"], rel=0.005)


@pytest.mark.parametrize(("name", "tp", "pp", "found"), BUILT)
def test_pages_of_every_stage(name: str, tp: int, pp: int, found: dict[str, Any]) -> None:
    model = read_architecture(config(name))
    width = 1 if model.quantization.cache_fp8 else model.dtype_bytes
    first = 0
    for size, recorded in zip(layer_split(len(model.layers), pp), found["pages"], strict=True):
        counted: Counter[str] = Counter()
        for index in range(first, first + size):
            for page in layer_pages(model, index, tp, width, BLOCK, Device(), vllm_named()):
                amount = page.bytes if page.rule == "state" else page.bytes // BLOCK
                counted[f"{page.rule} {amount} {page.reach}"] += 1
        assert counted == recorded
        first += size


@pytest.mark.parametrize(("name", "tp", "pp", "found"), BUILT)
def test_blocks_of_a_request(name: str, tp: int, pp: int, found: dict[str, Any]) -> None:
    recorded = found["cache"]
    if not recorded:
        pytest.skip("it keeps nothing")
    cache = kv_cache(read_architecture(config(name)), tp, pp, in_flight=recorded["in_flight"])
    assert cache.block_tokens == recorded["block_tokens"]
    assert list(cache.stage_block_bytes) == recorded["block_bytes"]
    for context, blocks in recorded["blocks"].items():
        assert cache.blocks(int(context)) == blocks


@pytest.mark.parametrize(("name", "tp", "pp", "found"), BUILT)
def test_what_the_engine_builds_is_not_refused(name: str, tp: int, pp: int, found: dict[str, Any]) -> None:
    del found
    assert refusals(read_architecture(config(name)), tp, pp) == ()


def test_the_record_covers_the_architectures() -> None:
    models = [read_architecture(config(name)) for name in {str(case.values[0]) for case in BUILT}]
    mixers = {type(mixer).__name__ for model in models for layer in model.layers for mixer in layer.mixers}
    assert mixers >= {"Attention", "LatentAttention", "Mamba1", "Mamba2", "DeltaNet", "ShortConvolution"}
    assert any(model.towers for model in models)
    assert {model.tied for model in models} == {True, False}
    forms = {scheme.form for model in models for _, scheme in model.quantization.schemes}
    assert forms >= {"fp8", "fp8-block", "int8", "awq", "gptq", "packed", "nvfp4"}


REFUSED = [
    case
    for case in CASES
    if isinstance(case.values[3], dict) and "AssertionError" in str(case.values[3].get("refused", ""))
]


@pytest.mark.parametrize(("name", "tp", "pp", "found"), REFUSED)
def test_what_the_engine_asserts_is_refused(name: str, tp: int, pp: int, found: dict[str, Any]) -> None:
    del found
    assert refusals(read_architecture(config(name)), tp, pp)

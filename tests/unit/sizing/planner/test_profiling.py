"""What the engine finds beside weights, by version: sampler, experts, reserve, graphs."""

import dataclasses
from typing import Any

import pytest

from unit.sizing.models import config, small, source
from vllm_multinode.engines.vllm import vllm_named
from vllm_multinode.sizing.catalogue.records import Family
from vllm_multinode.sizing.planner.loading import Device
from vllm_multinode.sizing.planner.memory import stage_memory
from vllm_multinode.sizing.planner.profiling import Batch, Engine, Profile, profile, runs_on_v2

GIB = 1 << 30
BATCH = Batch(8192, 1024)


def found(name: str = "", version: str = "0.19.0", tp: int = 1, **asked: object) -> Profile:
    model = source(config(name) if name else small()).model
    device = asked.pop("device", Device())
    assert isinstance(device, Device)
    engine = Engine(vllm_named(version), device, eager=bool(asked.pop("eager", False)))
    staged, last = bool(asked.pop("staged", False)), bool(asked.pop("last", True))
    return profile(model, len(model.layers), tp, staged, last, BATCH, engine=engine)


@pytest.mark.parametrize(
    ("version", "each", "rows"),
    [
        pytest.param("0.16.0", 38, 0, id="sorts"),
        pytest.param("0.19.0", 14, 132 * 4, id="masks-in-place"),
        pytest.param("0.32.0", 2, 0, id="second-runner"),
    ],
)
def test_the_sampler_follows_the_version(version: str, each: int, rows: int) -> None:
    hidden = 8192 * 1024 * 2
    assert found(version=version).parts.sampling == 1024 * 32000 * each + rows * 32000 + hidden


def test_the_second_runner_keeps_counts_where_free_memory_is_measured() -> None:
    assert found(version="0.32.0").parts.counts == 1024 * 32000 * 33 // 8
    assert found(version="0.26.0").parts.counts == 0


def test_a_stage_that_does_not_sample_has_no_logits() -> None:
    first = found(staged=True, last=False)
    assert first.parts.sampling == 0
    assert first.parts.step > found().parts.step


@pytest.mark.parametrize(
    ("version", "stays"),
    [
        pytest.param("0.13.0", False, id="freed"),
        pytest.param("0.14.1", True, id="kept"),
        pytest.param("0.32.0", True, id="kept-today"),
    ],
)
def test_buffers_of_experts_stay_from_a_version_on(version: str, stays: bool) -> None:
    tokens, active, hidden, both = 8192, 2, 4096, 2 * 14336
    size = tokens * active * (max(both // 2, hidden) + max(both, hidden)) * 2
    assert found("mixtral-8x7b", version).parts.experts == (size if stays else 0)


def test_latent_attention_decompresses_a_long_context() -> None:
    latent = source(config("deepseek-v3")).model
    assert found("deepseek-v3", tp=8).parts.step > 65536 * (latent.heads // 8) * 256 * 2


def test_reserve_is_of_ranks_that_talk() -> None:
    assert found().reserve / GIB == pytest.approx(0.25)
    assert found(tp=2).reserve / GIB == pytest.approx(2.07)
    assert found(tp=2, version="0.16.0").reserve / GIB == pytest.approx(0.55)
    assert found(staged=True).reserve < found().reserve
    assert found(device=Device(unified=True)).reserve > 4 * GIB


@pytest.mark.parametrize(
    ("version", "device", "deducted"),
    [
        pytest.param("0.19.0", Device(), False, id="not-yet"),
        pytest.param("0.21.0", Device(), True, id="on-cuda"),
        pytest.param("0.26.0", Device(), False, id="second-runner-without-an-estimate"),
        pytest.param("0.32.0", Device(), True, id="second-runner-with-one"),
        pytest.param("0.21.0", Device("rocm"), False, id="not-on-rocm"),
        pytest.param("0.32.0", Device("rocm"), True, id="on-rocm"),
    ],
)
def test_graphs_are_taken_from_the_cache(version: str, device: Device, deducted: bool) -> None:
    assert found(version=version, device=device).graphs_deducted is deducted
    assert found(version=version, device=device, eager=True).graphs == 0


def test_which_models_the_second_runner_serves() -> None:
    dense, mixture = source(small()).model, source(config("mixtral-8x7b")).model
    versions = ("0.24.0", "0.26.0", "0.32.0")
    assert [runs_on_v2(dense, vllm_named(name)) for name in versions] == [False, True, True]
    assert [runs_on_v2(mixture, vllm_named(name)) for name in versions] == [False, False, True]


@pytest.mark.parametrize(
    ("version", "asked", "gib"),
    [
        pytest.param("0.19.0", {}, 2.07, id="hopper"),
        pytest.param("0.19.0", {"device": Device(capability=10.3)}, 2.07, id="blackwell"),
        pytest.param("0.19.0", {"device": Device(capability=8.0)}, 0.55, id="ampere"),
        pytest.param("0.19.0", {"device": Device(capability=12.0)}, 0.55, id="workstation"),
        pytest.param("0.19.0", {"eager": True}, 0.55, id="eager"),
        pytest.param("0.19.0", {"staged": True}, 0.55, id="stages"),
        pytest.param("0.32.0", {"staged": True}, 2.07, id="stages-today"),
    ],
)
def test_where_all_reduce_is_fused_it_has_buffers(version: str, asked: dict[str, Any], gib: float) -> None:
    assert found(version=version, tp=2, **asked).reserve / GIB == pytest.approx(gib)


@pytest.mark.parametrize(
    ("family", "tp", "uneven"),
    [
        pytest.param("rocm", 8, 0.43, id="eight-ranks"),
        pytest.param("rocm", 4, 0.0, id="four"),
        pytest.param("cuda", 8, 0.0, id="cuda"),
    ],
)
def test_one_of_eight_ranks_under_rocm_has_less_than_the_first(
    family: Family, tp: int, uneven: float
) -> None:
    made = found(tp=tp, device=Device(family))
    assert made.uneven == round(uneven * GIB)
    memory = stage_memory(0, made, total=64 * GIB, utilization=1.0, kv_bytes=0)
    assert memory.available - memory.for_cache == made.uneven
    assert memory.surely_available == memory.for_cache - memory.error


def test_streams_beside_one_another_live_at_once() -> None:
    model = source(small()).model
    wide = dataclasses.replace(model, streams=4)
    engine = Engine(vllm_named("0.19.0"))
    once, four = (profile(one, 2, 1, False, True, BATCH, engine=engine).parts.step for one in (model, wide))
    assert four - once == BATCH.tokens * (2 * 3 + 4) * model.hidden * model.dtype_bytes


def test_what_is_not_modelled_has_an_allowance() -> None:
    made = found()
    whole, part = (
        stage_memory(100 * GIB, made, total=200 * GIB, utilization=1.0, kv_bytes=0, in_part=in_part)
        for in_part in (False, True)
    )
    assert whole.allowance == 0
    assert whole.left - part.left == part.allowance == 6 * GIB

"""The cache of DeepSeek-V4's layers, against what vLLM computes for the same configuration."""

from typing import Any

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.engines.vllm import vllm_named
from vllm_multinode.sizing.model.architecture import Architecture, read_architecture
from vllm_multinode.sizing.planner.compressed_cache import grouped
from vllm_multinode.sizing.planner.kv_cache import KvDtype, kv_cache

_PRO = (128, 128, *(4, 128) * 29, 4, 0)
_FLASH = (0, 0, *(4, 128) * 20, 4, 0)


def model(ratios: tuple[Any, ...], **fields: Any) -> Architecture:
    return read_architecture(
        {
            "architectures": ["DeepseekV4ForCausalLM"],
            "model_type": "deepseek_v4",
            "num_hidden_layers": len(ratios) - 1,
            "compress_ratios": list(ratios),
            "head_dim": 512,
            "index_head_dim": 128,
            "sliding_window": 128,
        }
        | fields
    )


# What get_kv_cache_groups and _project_kv_cache_groups_to_worker of vLLM 0.32 return for its own specs.
@pytest.mark.parametrize(
    ("ratios", "pp", "expected"),
    [
        pytest.param(_PRO, 1, (1435968,), id="Pro"),
        pytest.param(_PRO, 2, (718848, 717120), id="Pro-PP2"),
        pytest.param(_PRO, 4, (336384, 336384, 382464, 380736), id="Pro-PP4"),
        pytest.param(_FLASH, 1, (1002240,), id="Flash"),
        pytest.param(_FLASH, 2, (478080, 524160), id="Flash-PP2"),
        pytest.param(_FLASH, 4, (237312, 240768, 285120, 239040), id="Flash-PP4"),
    ],
)
def test_bytes_of_a_block(ratios: tuple[int, ...], pp: int, expected: tuple[int, ...]) -> None:
    assert kv_cache(model(ratios), 8, pp).stage_block_bytes == expected


@pytest.mark.parametrize(("context", "in_flight", "blocks"), [(8192, 16384, 3364), (800000, 1024, 3567)])
@pytest.mark.parametrize("ratios", [pytest.param(_PRO, id="Pro"), pytest.param(_FLASH, id="Flash")])
def test_blocks_of_a_request(ratios: tuple[int, ...], context: int, in_flight: int, blocks: int) -> None:
    cache = kv_cache(model(ratios), 8, 1, in_flight=in_flight)
    assert cache.blocks(context) == cache.counted_blocks(context) == blocks


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param("0.20.2", 31 * (37440 + 8640 + 1728), id="tuples"),
        pytest.param("0.26.0", 31 * 37440 + 30 * 8640 + 31 * 1728, id="most of each size"),
        pytest.param("0.27.0", 30 * 37440 + 30 * 8640 + 31 * 1728, id="widest group"),
    ],
)
def test_a_block_by_version(version: str, expected: int) -> None:
    cache = kv_cache(model(_PRO), 8, 1, version=vllm_named(version))
    assert cache.stage_block_bytes == (expected,)


@pytest.mark.parametrize(
    ("context", "batch", "blocks", "tokens"),
    [
        pytest.param(800000, 512, 15555, 3731334, id="800000"),
        pytest.param(8192, 8192, 10032, 27042, id="8192"),
    ],
)
def test_tokens_that_an_older_engine_logs(context: int, batch: int, blocks: int, tokens: int) -> None:
    """DeepSeek-V4-Pro, TP 8, vLLM 0.20.2: it weighs the blocks of its groups by their bytes."""
    cache = kv_cache(model(_PRO), 8, 1, "fp8", batch, version=vllm_named("0.20.2"))
    assert int(blocks / cache.counted_blocks(context) * context) == tokens
    assert cache.blocks(context) > cache.counted_blocks(context)


@pytest.mark.parametrize("dtype", ["auto", "fp8"])
def test_tensor_parallelism_and_dtype_change_nothing(dtype: KvDtype) -> None:
    assert kv_cache(model(_FLASH), 1, 1) == kv_cache(model(_FLASH), 8, 1, dtype)


def test_a_layer_of_multi_token_prediction_has_its_window_alone() -> None:
    alone, beside = kv_cache(model(_PRO), 8, 2), kv_cache(model(_PRO), 8, 2, drafts=1)
    assert beside.stage_token_bytes == alone.stage_token_bytes
    windows = [sum(p.bytes for p in c.groups if p.tokens == 64) for c in (alone, beside)]
    assert windows[1] - windows[0] == 37440


@pytest.mark.parametrize(
    ("ratios", "groups"),
    [
        pytest.param((0, 0, 0), 1, id="windows alone"),
        pytest.param((128, 128, 0), 5, id="without an indexer"),
        pytest.param((4, 4, 0), 3, id="indexers alone"),
    ],
)
def test_other_patterns_of_layers(ratios: tuple[int, ...], groups: int) -> None:
    cache = kv_cache(model(ratios), 1, 1)
    assert len(cache.groups) == groups
    assert cache.stage_block_bytes[0] >= max(page.bytes for page in cache.groups)


@pytest.mark.parametrize("ratio", [2, -4, "4", 4.5])
def test_a_ratio_that_the_engine_has_no_kernel_for(ratio: Any) -> None:
    with pytest.raises(MultinodeError) as refusal:
        model((0, ratio, 0))
    assert "compress_ratios[1]" in str(refusal.value)


def test_splitting_keeps_every_page() -> None:
    layers = [(m.compression, m.head_dim) for layer in model(_PRO).layers for m in layer.mixers]  # type: ignore[union-attr]
    whole = sorted(size for group in grouped(layers, "widest") for _, size in group.pages)  # type: ignore[arg-type]
    assert len(whole) == 61 + 2 * 61 + 2 * 30

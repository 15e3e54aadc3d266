"""Bytes of a token of latent attention: which kernels pack it, read in vLLM's choice of backends."""

import pytest

from vllm_multinode.engines.vllm import vllm_named
from vllm_multinode.sizing.model.sources import find_model
from vllm_multinode.sizing.planner.kv_cache import kv_cache
from vllm_multinode.sizing.planner.loading import Device

_SPARSE, _DENSE = "deepseek-v3.2", "deepseek-r1-0528"
_INDEXER = 128 + 4
_B200 = Device(capability=10.0)


@pytest.mark.parametrize(
    ("model", "dtype", "device", "tp", "version", "entry"),
    [
        pytest.param(_SPARSE, "auto", Device(), 8, "0.32.0", 1152 + _INDEXER, id="bf16"),
        pytest.param(_SPARSE, "fp8", Device(), 8, "0.32.0", 656 + _INDEXER, id="hopper"),
        pytest.param(_SPARSE, "fp8", Device(), 8, "0.16.0", 656 + _INDEXER, id="hopper-of-old"),
        pytest.param(_SPARSE, "fp8", _B200, 8, "0.32.0", 576 + _INDEXER, id="blackwell"),
        pytest.param(_SPARSE, "fp8", _B200, 8, "0.18.0", 576 + _INDEXER, id="few-heads"),
        pytest.param(_SPARSE, "fp8", _B200, 4, "0.18.0", 656 + _INDEXER, id="many-heads"),
        pytest.param(_SPARSE, "fp8", _B200, 8, "0.16.0", 656 + _INDEXER, id="no-flashinfer"),
        pytest.param(_SPARSE, "auto", Device(capability=12.0), 8, "0.32.0", 656 + _INDEXER, id="workstation"),
        pytest.param(_SPARSE, "fp8", Device("rocm"), 8, "0.32.0", 576 + _INDEXER, id="rocm"),
        pytest.param(_DENSE, "fp8", Device(), 8, "0.32.0", 576, id="dense"),
    ],
)
def test_a_token_of_latent_attention(
    model: str, dtype: str, device: Device, tp: int, version: str, entry: int
) -> None:
    source = find_model(model).model
    cache = kv_cache(source, tp, 1, dtype, version=vllm_named(version), device=device)  # type: ignore[arg-type]
    assert cache.stage_token_bytes[0] == entry * len(source.layers)

"""What loading leaves beside the parameters: tables, padding, and blocks that the allocator keeps."""

from typing import Any

import pytest

from unit.sizing.models import small, source
from vllm_multinode.engines.vllm import vllm_named
from vllm_multinode.sizing.planner.loading import Device, loaded_beside

GIB, MIB = 1 << 30, 1 << 20
HOPPER, AMPERE, BLACKWELL = (Device(capability=capability) for capability in (9.0, 8.0, 10.0))
ROCM = Device("rocm")


def beside(found: dict[str, Any], tp: int = 1, device: Device = HOPPER, version: str = "0.19.0") -> float:
    """Bytes of a whole stage."""
    model = source(found).model
    return loaded_beside(model, tp, device, vllm_named(version)).stage(0, len(model.layers))


@pytest.mark.parametrize(
    ("fields", "rows", "width"),
    [
        pytest.param({}, 8192, 2, id="plain"),
        pytest.param({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 8192, 2, id="llama3"),
        pytest.param({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, 65536, 2, id="linear"),
        pytest.param(
            {
                "rope_scaling": {
                    "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096,
                }
            },
            16384, 2, id="yarn",
        ),
        pytest.param({"rope_scaling": {"mrope_section": [8, 12, 12]}}, 32768, 2, id="sections"),
    ],
)  # fmt: skip
def test_a_table_has_as_many_rows_as_positions(fields: dict[str, Any], rows: int, width: int) -> None:
    assert beside(small(**fields)) == rows * 64 * width


def test_a_table_of_ten_million_positions_is_gibibytes() -> None:
    assert beside(small(max_position_embeddings=10485760, head_dim=128)) == pytest.approx(2.5 * GIB)


def experts(method: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A mixture whose widths are no multiples of what kernels want."""
    return small(
        model_type="mixtral", architectures=["MixtralForCausalLM"], hidden_size=2880, head_dim=64,
        intermediate_size=2880, num_local_experts=32, num_experts_per_tok=4, max_position_embeddings=64,
        quantization_config=method, **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("device", "version", "up", "down"),
    [
        pytest.param(AMPERE, "0.19.0", (2944, 3072), (3072, 2944), id="marlin"),
        pytest.param(HOPPER, "0.11.0", (2944, 3072), (3072, 2944), id="marlin-on-hopper"),
        pytest.param(HOPPER, "0.19.0", (2880, 3072), (2880, 3072), id="triton"),
        pytest.param(BLACKWELL, "0.19.0", (3072, 3072), (3072, 3072), id="trtllm"),
    ],
)
def test_mxfp4_experts_are_padded_for_their_kernel(
    device: Device, version: str, up: tuple[int, int], down: tuple[int, int]
) -> None:
    one = 2 * up[0] * up[1] + down[0] * down[1] - 3 * 2880 * 2880
    found = beside(experts({"quant_method": "mxfp4"}), device=device, version=version)
    assert found == pytest.approx(8 * 32 * one * 17 / 32 + 64 * 64 * 2, rel=1e-6)


def test_fp8_experts_without_a_gate_come_in_multiples_of_128() -> None:
    pattern = {"model_type": "nemotron_h", "hybrid_override_pattern": "E*E*E*E*", "n_routed_experts": 16}
    found = small(
        **pattern, architectures=["NemotronHForCausalLM"], moe_intermediate_size=2688, n_shared_experts=0,
        max_position_embeddings=64, quantization_config={"quant_method": "modelopt", "quant_algo": "FP8"},
    )  # fmt: skip
    # Numbers, and a scale of four bytes for each row that is added.
    added = 4 * 16 * (1408 - 1344) * (2 * 1024 + 4)
    assert beside(found, tp=2) - beside(found) == added


def test_rocm_keeps_what_it_split_while_it_copied_experts() -> None:
    """Up and gate move first; the copy of the matrix down takes their old block, and its rest stays."""
    found = small(
        model_type="mixtral", hidden_size=4096, intermediate_size=2048, num_local_experts=16,
        num_hidden_layers=4, max_position_embeddings=64,
    )  # fmt: skip
    up, down = 16 * 2 * 2048 * 4096 * 2, 16 * 4096 * 2048 * 2
    padding = up / 4096 * 128 + down / 2048 * 128
    split = up - down * (1 + 128 / 2048)
    table = 64 * 256 * 2
    runtime = 600 * MIB + table
    assert beside(found, device=ROCM) == pytest.approx(4 * (padding + split) + runtime, rel=1e-3)
    assert beside(found, device=ROCM, version="0.32.0") == pytest.approx(4 * padding + runtime, rel=1e-3)
    assert beside(found, device=HOPPER) == table

"""Values that a configuration gives for every layer, or for the layers of one kind."""

from typing import Any

import pytest

from unit.sizing.models import config, small
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.model.architecture import Architecture, read_architecture
from vllm_multinode.sizing.model.fields import Fields
from vllm_multinode.sizing.model.layers import Attention, Dense, Experts
from vllm_multinode.sizing.model.quantization import Quantization, read_quantization

LAYERS = small()["num_hidden_layers"]


def experts(model: Architecture) -> list[Experts | None]:
    return [layer.experts for layer in model.layers]


def attention(model: Architecture, index: int) -> Attention:
    mixer = model.layers[index].mixers[0]
    assert isinstance(mixer, Attention)
    return mixer


def test_lists_of_experts_are_read_layer_by_layer() -> None:
    counts = [1, 8, 8, 16, 8, 8, 8, 8]
    found = experts(
        read_architecture(
            small(
                model_type="hunyuan_v1_moe",
                num_experts=counts,
                moe_topk=[2] * LAYERS,
                moe_intermediate_size=[512 + 128 * index for index in range(LAYERS)],
                num_shared_expert=[0, 1, 2, *[1] * (LAYERS - 3)],
            )
        )
    )
    assert found[0] is None
    assert [one.routed for one in found[1:] if one] == counts[1:]
    assert [one.expert.intermediate for one in found[1:] if one] == [512 + 128 * i for i in range(1, LAYERS)]
    assert [one.shared for one in found[1:3] if one] == [640, 2 * 768]


def test_a_list_of_heads_and_widths() -> None:
    heads = [16, 16, 8, 8, 16, 16, 8, 8]
    widths = [1024 * (1 + index) for index in range(LAYERS)]
    model = read_architecture(
        small(
            num_attention_heads=heads, num_key_value_heads=[4] * LAYERS, head_dim=64, intermediate_size=widths
        )
    )
    assert [attention(model, index).heads for index in range(LAYERS)] == heads
    blocks = [layer.mlp for layer in model.layers]
    assert [block.intermediate for block in blocks if isinstance(block, Dense)] == widths


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"moe_topk": [2] * 3}, "moe_topk has 3 entries", id="too-short"),
        pytest.param({"moe_topk": ["x"] * LAYERS}, "moe_topk is 'x'", id="no-numbers"),
        pytest.param({"moe_topk": [[2]] * LAYERS}, "moe_topk is [2]", id="lists-in-a-list"),
        pytest.param({"num_experts": [-1] * LAYERS}, "not within", id="negative"),
        pytest.param({"vocab_size": [1, 2]}, "vocab_size is [1, 2]", id="a-size-of-the-whole-model"),
        pytest.param({"hidden_size": [1] * LAYERS}, "hidden_size is [1", id="a-width-of-the-whole-model"),
        pytest.param({"hybrid_layer_pattern": [1]}, "has 1 entries", id="pattern-too-short"),
        pytest.param({"attention_other_setting": [1]}, "not an object", id="no-object"),
    ],
)
def test_a_list_that_cannot_be_names_its_field(fields: dict[str, Any], says: str) -> None:
    whole = small(model_type="hunyuan_v1_moe", num_experts=4, moe_topk=2, moe_intermediate_size=512) | fields
    with pytest.raises(MultinodeError) as refusal:
        read_architecture(whole)
    assert refusal.value.code is ExitCode.MODEL_CONFIG
    assert says in refusal.value.what, refusal.value


def test_layers_with_a_window_have_sizes_of_their_own() -> None:
    model = read_architecture(config("mimo-v2-flash"))
    whole, window = attention(model, 0), attention(model, 1)
    assert (whole.kv_heads, whole.window, whole.sinks) == (4, None, False)
    assert (window.kv_heads, window.window, window.sinks) == (8, 128, True)
    step = read_architecture(config("step-3.5-flash"))
    assert [attention(step, index).heads for index in range(4)] == [64, 96, 96, 96]


MIXED = {
    "quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": "FP8",
    "exclude_modules": ["model.layers.1.self_attn*"],
    "quantized_layers": {
        "model.language_model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"},
        "backbone.layers.0.mixer.experts.0.up_proj": {"quant_algo": "NVFP4", "group_size": 16},
        "language_model.model.layers.2.block_sparse_moe.experts.0.w2": {"quant_algo": "MXFP8"},
        "lm_head": {"quant_algo": "FP8"},
    },
}  # fmt: skip


def quantization(**fields: Any) -> Quantization:
    found = Fields({"quantization_config": MIXED | fields}, "config.json")
    return read_quantization(found, found)


@pytest.mark.parametrize(
    ("module", "form"),
    [
        pytest.param("model.layers.0.self_attn.q_proj", "fp8", id="one-level-further-in"),
        pytest.param("model.layers.0.mlp.experts.0.up_proj", "nvfp4", id="another-word-for-the-block"),
        pytest.param("model.layers.2.mlp.experts.0.down_proj", "mxfp8", id="another-word-for-the-matrix"),
        pytest.param("model.layers.2.mlp.experts.0.up_proj", "", id="the-matrix-beside-it"),
        pytest.param("model.layers.0.self_attn.o_proj", "", id="not-named"),
        pytest.param("model.layers.1.self_attn.q_proj", "", id="left-out"),
        pytest.param("lm_head", "fp8", id="the-head"),
    ],
)
def test_mixed_precision_is_by_module(module: str, form: str) -> None:
    scheme = quantization().scheme(module)
    assert (scheme.form if scheme else "") == form


def test_an_unknown_algorithm_is_named() -> None:
    found = quantization(quantized_layers={"lm_head": {"quant_algo": "NEW"}})
    assert "'NEW'" in found.guesses[0]


@pytest.mark.parametrize(
    ("fields", "eight_bit"),
    [
        pytest.param({}, True, id="algorithm"),
        pytest.param({"kv_cache_quant_algo": None}, False, id="none"),
        pytest.param(
            {"kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False}}, True, id="scheme"
        ),
        pytest.param({"kv_cache_scheme": {"num_bits": 4, "type": "float"}}, False, id="four-bits"),
        pytest.param({"quant_method": "compressed-tensors"}, False, id="another-method"),
    ],
)
def test_a_cache_in_fp8_is_the_checkpoints_choice(fields: dict[str, Any], eight_bit: bool) -> None:
    assert quantization(**fields).cache_fp8 is eight_bit


@pytest.mark.parametrize(
    ("pattern", "module", "skipped"),
    [
        pytest.param("*.mlp.gate", "model.layers.0.mlp.gate", True, id="the-module"),
        pytest.param("*.mlp.gate", "model.layers.0.mlp.gate_proj", False, id="a-longer-name"),
        pytest.param("*.mlp", "model.layers.0.mlp.up_proj", True, id="what-holds-it"),
        pytest.param("*.mlp*", "model.layers.0.mlp.up_proj", True, id="a-star-behind"),
        pytest.param("model.language_model.layers.0.mlp*", "model.layers.0.mlp.up_proj", True, id="inner"),
        pytest.param("*.block_sparse_moe.gate", "model.layers.0.mlp.gate", True, id="another-word"),
        pytest.param("re:.*feed_forward.*", "model.layers.0.mlp.up_proj", True, id="an-expression"),
        pytest.param("re:(", "model.layers.0.mlp.up_proj", False, id="one-that-does-not-compile"),
    ],
)
def test_a_pattern_names_a_module_or_what_holds_it(pattern: str, module: str, skipped: bool) -> None:
    given = {"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": [pattern]}}
    found = read_quantization(Fields(given, "config.json"), Fields({}, "config.json"))
    assert (found.scheme(module) is None) is skipped

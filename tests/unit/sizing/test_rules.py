"""What vLLM rejects, by the rule's name."""

from typing import Any

import pytest

from unit.sizing.models import config, small
from vllm_multinode.sizing.model.architecture import read_architecture
from vllm_multinode.sizing.planner.rules import refusals

FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
WIDE = {"head_dim": 128}
MOE = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_experts": 8,
    "moe_intermediate_size": 768,
}


@pytest.mark.parametrize(
    ("change", "tp", "pp", "rules"),
    [
        pytest.param({}, 4, 4, [], id="allowed"),
        pytest.param({}, 3, 1, ["heads", "kv-heads", "intermediate-size", "vocabulary"], id="heads"),
        pytest.param({"num_key_value_heads": 6}, 4, 1, ["kv-heads"], id="kv-heads-do-not-divide"),
        pytest.param({"num_key_value_heads": 3}, 16, 1, ["kv-heads"], id="kv-heads-do-not-replicate"),
        pytest.param({"num_key_value_heads": 2}, 16, 1, [], id="kv-heads-replicated"),
        pytest.param({"intermediate_size": 4097}, 2, 1, ["intermediate-size"], id="feed-forward"),
        pytest.param({"vocab_size": 32001}, 16, 1, [], id="vocabulary-is-padded"),
        pytest.param(
            {"num_attention_heads": 96, "num_key_value_heads": 96, "intermediate_size": 9216},
            96, 1, ["vocabulary"], id="vocabulary",
        ),
        pytest.param({}, 1, 9, ["layers"], id="more-stages-than-layers"),
        pytest.param({"architectures": ["Zamba2ForCausalLM"]}, 1, 2, ["pipeline"], id="no-stages"),
        pytest.param({"architectures": ["Zamba2ForCausalLM"]}, 2, 1, [], id="no-stages-needed"),
        pytest.param(MOE, 16, 1, [], id="experts-divide"),
        pytest.param(MOE | {"moe_intermediate_size": 760}, 16, 1, ["experts"], id="experts"),
        pytest.param(WIDE | {"quantization_config": FP8}, 4, 1, [], id="fp8-blocks-fit"),
        pytest.param({"quantization_config": FP8}, 2, 1, [], id="fp8-keys-fit"),
        pytest.param({"quantization_config": FP8}, 4, 1, ["quantized-block"], id="fp8-keys"),
        pytest.param(MOE | WIDE | {"quantization_config": FP8}, 4, 1, [], id="fp8-experts-refined"),
        pytest.param(MOE | WIDE | {"quantization_config": FP8}, 16, 1, ["quantized-block"], id="fp8-experts"),
        pytest.param(MOE | {"quantization_config": GPTQ}, 4, 1, ["quantized-group"], id="gptq-groups"),
    ],
)  # fmt: skip
def test_rule(change: dict[str, Any], tp: int, pp: int, rules: list[str]) -> None:
    assert [refusal.rule for refusal in refusals(read_architecture(small() | change), tp, pp)] == rules


@pytest.mark.parametrize(
    ("name", "tp", "rule"),
    [
        pytest.param("falcon-7b", 2, "heads", id="71-heads"),
        pytest.param("phi-4", 8, "kv-heads", id="10-kv-heads-over-8"),
        pytest.param("falcon-h1-7b", 8, "heads", id="12-heads"),
        pytest.param("jamba-mini", 3, "recurrent", id="mamba-width"),
        pytest.param("qwen3-next-80b", 32, "recurrent", id="linear-attention-heads"),
    ],
)
def test_published_models(name: str, tp: int, rule: str) -> None:
    found = refusals(read_architecture(config(name)), tp, 1)
    assert rule in {refusal.rule for refusal in found}
    assert all(str(tp) in refusal.what for refusal in found)


def test_tied_embedding_across_stages() -> None:
    found = refusals(read_architecture(config("ernie-4.5-21b")), 1, 2)
    assert [refusal.rule for refusal in found] == ["pipeline"]

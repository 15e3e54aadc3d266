"""The models: every entry is sound alone, and dense ones weigh what their dimensions say."""

from pathlib import Path
from typing import Any

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.catalogue import model, names

ALL = names("model")
FOLDER = Path(catalogue.__file__).parent / "models"
# Decoders whose layers are attention with four projections and a gated MLP with three, nothing else.
PLAIN = {"llama", "mistral", "qwen2", "qwen3", "phi3", "granite"}


def text(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a configuration."""
    return config.get("text_config") or config.get("llm_config") or config


def dense_bytes(config: dict[str, Any]) -> int:
    """Matrices of a plain decoder in two bytes, without norms and biases."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    attention = 2 * hidden * head * (heads + config["num_key_value_heads"])
    layers = config["num_hidden_layers"] * (attention + 3 * hidden * config["intermediate_size"])
    return 2 * int(layers + config["vocab_size"] * hidden * (1 if config["tie_word_embeddings"] else 2))


def test_there_are_at_least_sixty() -> None:
    assert len(ALL) >= 60


def test_files_and_index_agree() -> None:
    files = {path.stem for path in FOLDER.glob("*.yaml")} - {"index"}
    assert files == {name.lower().replace("/", "--") for name in ALL}


@pytest.mark.parametrize("name", ALL)
def test_is_sound_alone(name: str) -> None:
    entry = model(name)
    assert entry.name == name
    config = text(entry.config)
    assert entry.config["architectures"]
    assert entry.config["model_type"]
    layers = config.get("num_hidden_layers") or len(config["layers_block_type"])
    assert layers > 0
    assert config["max_position_embeddings"] >= 2048
    if "head_dim" not in config and "kv_lora_rank" not in config:
        assert config["hidden_size"] % config["num_attention_heads"] == 0
    if "layer_types" in config:
        # Layers of multi-token prediction may stand behind the model's own.
        assert 0 <= len(config["layer_types"]) - layers <= config.get("num_nextn_predict_layers", 0)
    if "hybrid_override_pattern" in config:
        assert len(config["hybrid_override_pattern"]) == layers


@pytest.mark.parametrize("name", ALL)
def test_what_is_missing_is_explained(name: str) -> None:
    entry = model(name)
    config = text(entry.config)
    complete = "vocab_size" in config and any("intermediate" in key or "ffn" in key for key in config)
    assert complete or config["model_type"] == "falcon" or "config" in entry.unconfirmed


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in ALL
        if model(name).weight_bytes
        and model(name).config["model_type"] in PLAIN
        and "quantization_config" not in model(name).config
    ],
)
def test_dense_models_weigh_what_their_dimensions_say(name: str) -> None:
    entry = model(name)
    assert dense_bytes(entry.config) == pytest.approx(entry.weight_bytes, rel=0.002)


@pytest.mark.parametrize("system", ["kaito", "oci", "ai-on-eks"])
def test_presets_and_samples_of_the_peers_are_there(system: str) -> None:
    assert (
        sum(system in model(name).listed_by for name in ALL)
        >= {"kaito": 65, "oci": 11, "ai-on-eks": 11}[system]
    )


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param(
            "llama-3.3-70b-instruct", "meta-llama/Llama-3.3-70B-Instruct", id="last-part-as-kaito-writes-it"
        ),
        pytest.param("mistral-7b", "mistralai/Mistral-7B-v0.3", id="preset-of-kaito"),
        pytest.param("gemma-3-27b-instruct", "google/gemma-3-27b-it", id="preset-renamed-by-kaito"),
        pytest.param(
            "NousResearch/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", id="copy"
        ),
        pytest.param("DEEPSEEK-AI/deepseek-r1-0528", "deepseek-ai/DeepSeek-R1-0528", id="any-letter-case"),
    ],
)
def test_is_found_by_any_of_its_names(asked: str, found: str) -> None:
    assert model(asked).name == found


def test_an_unknown_model_offers_close_ones() -> None:
    with pytest.raises(MultinodeError) as refusal:
        model("Llama-3.3-8B")
    assert refusal.value.code is ExitCode.USAGE
    assert "Llama-3" in refusal.value.hint


def test_deepseek_v3_keeps_what_sizing_needs() -> None:
    config = model("DeepSeek-V3").config
    assert (config["kv_lora_rank"], config["qk_rope_head_dim"], config["q_lora_rank"]) == (512, 64, 1536)
    assert (config["n_routed_experts"], config["n_shared_experts"]) == (256, 1)
    assert config["num_nextn_predict_layers"] == 1
    assert config["quantization_config"]["weight_block_size"] == [128, 128]

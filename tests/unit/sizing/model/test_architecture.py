"""config.json -> architecture: what it reads, what it names when it cannot, what it marks as a guess."""

from typing import Any

import pytest

from unit.sizing.models import config, names, small
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.model.architecture import read_architecture
from vllm_multinode.sizing.model.layers import Attention
from vllm_multinode.sizing.model.splits import cut


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"hidden_size": None}, "hidden_size is missing", id="width-missing-and-type-unknown"),
        pytest.param({"num_hidden_layers": 0}, "num_hidden_layers is 0", id="no-layers"),
        pytest.param({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000", id="absurd-layers"),
        pytest.param({"num_hidden_layers": "many"}, "num_hidden_layers is 'many'", id="word"),
        pytest.param({"num_attention_heads": -1}, "num_attention_heads is -1", id="negative"),
        pytest.param({"num_key_value_heads": 0}, "num_key_value_heads is 0", id="no-kv-heads"),
        pytest.param({"vocab_size": 1.5}, "vocab_size is 1.5", id="fraction"),
        pytest.param({"vocab_size": True}, "vocab_size is True", id="truth-value"),
        pytest.param({"intermediate_size": [4096]}, "intermediate_size has 1 entries", id="short-list"),
        pytest.param({"layer_types": ["full_attention"]}, "layer_types has 1 entries", id="short-layers"),
        pytest.param({"layer_types": "full"}, "layer_types is 'full'", id="not-a-list"),
        pytest.param({"quantization_config": 4}, "quantization_config is 4", id="not-an-object"),
        pytest.param(
            {"quantization_config": {"quant_method": "awq", "bits": "four"}}, "bits is 'four'", id="bits"
        ),
        pytest.param({"text_config": [1]}, "text_config is [1]", id="text-config-a-list"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Any], field: str) -> None:
    found = small(model_type="unheard-of") | change
    with pytest.raises(MultinodeError) as caught:
        read_architecture(found, "config.json")
    assert caught.value.code is ExitCode.MODEL_CONFIG
    assert field in str(caught.value)
    assert str(caught.value).startswith("config.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "guess"),
    [
        pytest.param({"architectures": ["NewForCausalLM"]}, "not list 'NewForCausalLM'", id="architecture"),
        pytest.param({"architectures": None}, "architectures is missing", id="no-architecture"),
        pytest.param({"model_type": "new"}, "model_type is 'new'", id="model-type"),
        pytest.param(
            {"quantization_config": {"quant_method": "magic"}}, "quant_method 'magic' is unknown", id="method"
        ),
        pytest.param({"layer_types": ["diffusion"] * 8}, "layer_types has diffusion", id="layer-kind"),
        pytest.param({"torch_dtype": "float7"}, "torch_dtype 'float7'", id="dtype"),
        pytest.param({"vision_config": {"model_type": "eye", "x": 1}}, "model_type 'eye'", id="tower"),
    ],
)
def test_a_guess_is_marked(change: dict[str, Any], guess: str) -> None:
    assert any(guess in sentence for sentence in read_architecture(small() | change).guesses)


@pytest.mark.parametrize("name", names())
def test_published_configurations_need_no_guess(name: str) -> None:
    guesses = read_architecture(config(name)).guesses
    if name.endswith("bnb4"):
        assert ["has no quant_method 'bitsandbytes'" in guess for guess in guesses] == [True]
    else:
        assert guesses == ()


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        # Bytes of the safetensors files that the publishers give.
        pytest.param("llama-3.1-8b", 16.06, id="dense"),
        pytest.param("llama-3.3-70b", 141.11, id="dense-large"),
        pytest.param("mixtral-8x7b", 93.41, id="experts"),
        pytest.param("deepseek-v3", 688.59, id="latent-fp8-with-prediction"),
        pytest.param("gemma-3-4b", 8.60, id="tower-and-tied"),
        pytest.param("nemotron-3-nano-30b", 63.16, id="hybrid-with-experts"),
        pytest.param("gpt-oss-120b", 65.25, id="mxfp4"),
        pytest.param("qwen2.5-7b-awq", 5.57, id="awq"),
    ],
)
def test_files_are_as_large_as_published(name: str, gigabytes: float) -> None:
    assert cut(read_architecture(config(name)), 1).checkpoint / 1e9 == pytest.approx(gigabytes, rel=0.005)


def test_class_defaults_stand_in_for_absent_fields() -> None:
    model = read_architecture(config("gemma-3-4b"))
    first = model.layers[0].mixers[0]
    assert isinstance(first, Attention)
    assert (first.heads, first.kv_heads, first.head_dim, first.window) == (8, 4, 256, 1024)
    assert model.tied


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        pytest.param({}, 8192, id="plain"),
        pytest.param({"max_position_embeddings": None, "model_type": "new"}, 0, id="unknown"),
        pytest.param(
            {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}},
            32768,
            id="yarn",
        ),
        pytest.param({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 8192, id="llama3-states-it"),
        pytest.param({"rope_scaling": {"type": "linear", "factor": 2.0}}, 16384, id="linear"),
    ],
)
def test_greatest_context(change: dict[str, Any], limit: int) -> None:
    assert read_architecture(small() | change).max_context == limit

import ast
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_multinode.checkpoint.model_directory import Model
from vllm_multinode.checkpoint.shards import Part, Shard, place
from vllm_multinode.checkpoint.stages import check_parallel, layer_split, shards_of_stage
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


def a_model(
    heads: int | None = 32, kv_heads: int | None = 8, layers: int | None = 32, shards: tuple[Shard, ...] = ()
) -> Model:
    return Model(
        path=Path("/mnt/models"),
        config_file=Path("/mnt/models/config.json"),
        architectures=(),
        attention_heads=heads,
        kv_heads=kv_heads,
        hidden_layers=layers,
        vocabulary=None,
        quantization="",
        shards=shards,
        fingerprint="",
    )


def a_shard(name: str, layers: range | tuple[int, ...] = (), *parts: Part) -> Shard:
    return Shard(name, 1, True, "", frozenset(layers), frozenset(parts))


@pytest.mark.parametrize(
    ("model", "tensor_parallel", "pipeline_parallel"),
    [
        pytest.param(a_model(), 8, 2, id="even"),
        pytest.param(a_model(), 16, 1, id="kv-heads-repeated"),
        pytest.param(a_model(kv_heads=None), 32, 1, id="kv-heads-unknown"),
        pytest.param(a_model(layers=4), 1, 4, id="one-layer-a-stage"),
        pytest.param(a_model(None, None, None), 7, 99, id="nothing-known"),
    ],
)
def test_sizes_that_fit(model: Model, tensor_parallel: int, pipeline_parallel: int) -> None:
    check_parallel(model, tensor_parallel, pipeline_parallel)


@pytest.mark.parametrize(
    ("model", "sizes", "code", "words"),
    [
        pytest.param(
            a_model(heads=4, kv_heads=4),
            (3, 1),
            ExitCode.HEADS,
            "4 attention heads are not divisible by TENSOR_PARALLEL_SIZE=3. Every rank takes an equal number "
            "of heads: use one of 1, 2, 4.",
            id="heads",
        ),
        pytest.param(
            a_model(heads=24, kv_heads=8), (12, 1), ExitCode.HEADS, "8 KV heads", id="kv-heads-repeated"
        ),
        pytest.param(
            a_model(heads=12, kv_heads=6), (4, 1), ExitCode.HEADS, "6 KV heads", id="kv-heads-split"
        ),
        pytest.param(a_model(layers=2), (1, 3), ExitCode.LAYERS, "PIPELINE_PARALLEL_SIZE=3", id="layers"),
    ],
)
def test_sizes_that_do_not_fit(model: Model, sizes: tuple[int, int], code: ExitCode, words: str) -> None:
    with pytest.raises(MultinodeError) as raised:
        check_parallel(model, *sizes)
    assert raised.value.code is code
    assert words in str(raised.value)
    assert "config.json" in str(raised.value)


@given(st.integers(1, 200), st.integers(1, 64))
def test_every_layer_is_held_once(layers: int, pipeline_parallel: int) -> None:
    split = layer_split(layers, pipeline_parallel)
    assert len(split) == pipeline_parallel
    assert sum(split) == layers
    assert max(split) - min(split) <= 1


def _engines_own_split() -> Callable[[int, int, int], tuple[int, int]]:
    """vLLM's function out of its source file; importing the package would take seconds."""
    package = importlib.util.find_spec("vllm")
    if package is None or not package.submodule_search_locations:
        pytest.skip("vllm is not installed, so its get_pp_indices cannot be compared with")
    source = Path(package.submodule_search_locations[0]) / "distributed" / "utils.py"
    tree = ast.parse(source.read_text())
    function = next(
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "get_pp_indices"
    )
    namespace: dict[str, Any] = {
        "envs": SimpleNamespace(VLLM_PP_LAYER_PARTITION=None),
        "logger": logging.getLogger("vllm"),
    }
    exec(compile(ast.Module([function], []), str(source), "exec"), namespace)
    found: Callable[[int, int, int], tuple[int, int]] = namespace["get_pp_indices"]
    return found


def test_the_split_is_vllms() -> None:
    engines_own = _engines_own_split()
    for layers in range(1, 100):
        for stages in range(1, min(layers, 17) + 1):
            ranges = [engines_own(layers, stage, stages) for stage in range(stages)]
            assert list(layer_split(layers, stages)) == [end - begin for begin, end in ranges], (
                layers,
                stages,
            )


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        pytest.param("model.layers.17.self_attn.q_proj.weight", 17, id="llama"),
        pytest.param("transformer.h.3.attn.c_attn.weight", 3, id="gpt2"),
        pytest.param("gpt_neox.layers.5.attention.dense.bias", 5, id="neox"),
        pytest.param("language_model.model.layers.61.mlp.up_proj.weight_scale_inv", 61, id="llava"),
        pytest.param("model.language_model.layers.2.mlp.gate.weight", 2, id="qwen-vl"),
        pytest.param("layers.9.attention.wq.weight", 9, id="mistral"),
        pytest.param("model.visual.blocks.4.attn.qkv.weight", "other", id="vision-tower"),
        pytest.param("vision_tower.encoder.layers.4.mlp.weight", "other", id="vision-encoder"),
        pytest.param("model.embed_tokens.weight", "embedding", id="embedding"),
        pytest.param("transformer.wte.weight", "embedding", id="gpt2-embedding"),
        pytest.param("tok_embeddings.weight", "embedding", id="mistral-embedding"),
        pytest.param("model.norm.weight", "norm", id="norm"),
        pytest.param("transformer.ln_f.bias", "norm", id="gpt2-norm"),
        pytest.param("lm_head.weight", "head", id="head"),
        pytest.param("output.weight", "head", id="mistral-head"),
        pytest.param("model", "other", id="no-name"),
        pytest.param("", "other", id="empty"),
    ],
)
def test_where_a_tensor_belongs(tensor: str, expected: int | Part) -> None:
    assert place(tensor) == expected


FILES = (
    a_shard("1", (0, 1), "embedding"),
    a_shard("2", (1, 2)),
    a_shard("3", (3,), "norm", "head"),
    a_shard("vision", (), "other"),
    a_shard("mtp", (4,)),
)


@pytest.mark.parametrize(
    ("stage", "stages", "names"),
    [
        pytest.param(0, 1, "1 2 3 vision mtp", id="no-pipeline"),
        pytest.param(0, 2, "1 2 vision", id="first"),
        pytest.param(1, 2, "2 3 vision mtp", id="last"),
        pytest.param(1, 4, "1 2 vision", id="middle"),
        pytest.param(3, 4, "3 vision mtp", id="last-of-four"),
    ],
)
def test_the_files_of_a_stage(stage: int, stages: int, names: str) -> None:
    found = shards_of_stage(a_model(layers=4, shards=FILES), stage, stages)
    assert [shard.name for shard in found] == names.split()


def test_tied_embeddings_are_needed_at_both_ends() -> None:
    shards = (
        a_shard("embed", (), "embedding"),
        a_shard("a", (0,)),
        a_shard("b", (1,)),
        a_shard("c", (2,), "norm"),
    )
    model = a_model(layers=3, shards=shards)
    assert [[shard.name for shard in shards_of_stage(model, stage, 3)] for stage in range(3)] == [
        ["embed", "a"],
        ["b"],
        ["embed", "c"],
    ]


def test_every_file_where_the_layers_are_unknown() -> None:
    assert shards_of_stage(a_model(layers=None, shards=FILES), 1, 2) == FILES

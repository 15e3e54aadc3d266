import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from vllm_multinode.checkpoint.model_directory import read_model
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "vocab_size": 512,
}


def safetensors(names: Sequence[str], size: int = 16) -> bytes:
    """A safetensors file of tensors of `size` bytes each."""
    header = {
        name: {"dtype": "U8", "shape": [size], "data_offsets": [number * size, (number + 1) * size]}
        for number, name in enumerate(names)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size * len(names))


def write_model(
    directory: Path,
    shards: Mapping[str, Sequence[str]] | None = None,
    *,
    config: Mapping[str, Any] = CONFIG,
    index: str = "model.safetensors.index.json",
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text("{}")
    if shards is None:
        shards = {
            "model-00001-of-00002.safetensors": ["model.embed_tokens.weight", "model.layers.0.a.weight"],
            "model-00002-of-00002.safetensors": ["model.layers.1.a.weight", "lm_head.weight"],
        }
    for name, tensors in shards.items():
        (directory / name).write_bytes(safetensors(tensors))
    if index:
        weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
        (directory / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return directory


def test_what_a_model_says_of_itself(tmp_path: Path) -> None:
    model = read_model(write_model(tmp_path))
    assert model.architectures == ("LlamaForCausalLM",)
    assert (model.attention_heads, model.kv_heads, model.hidden_layers) == (8, 2, 4)
    assert model.vocabulary == 512
    assert model.quantization == ""
    assert [shard.name for shard in model.shards] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert all(shard.checked for shard in model.shards)
    assert model.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert model.shards[0].layers == {0}
    assert model.shards[0].parts == {"embedding"}
    assert model.shards[1].parts == {"head"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({}, (None, None, None), id="nothing-known"),
        pytest.param(
            {"num_attention_heads": "8", "num_hidden_layers": True}, (None, None, None), id="no-numbers"
        ),
        pytest.param({"n_head": 8, "n_layer": 3}, (8, None, 3), id="gpt2-names"),
        pytest.param(
            {"num_attention_heads": 2, "text_config": CONFIG}, (8, 2, 4), id="multimodal-takes-the-text-part"
        ),
        pytest.param(
            {"num_attention_heads": 2, "text_config": {"num_hidden_layers": 4}},
            (None, None, 4),
            id="multimodal-never-takes-the-vision-heads",
        ),
        pytest.param({"thinker_config": {"text_config": CONFIG}}, (8, 2, 4), id="nested-twice"),
        pytest.param({**CONFIG, "kv_lora_rank": 512}, (8, None, 4), id="latent-attention-has-no-kv-heads"),
        pytest.param({**CONFIG, "multi_query": True}, (8, 1, 4), id="multi-query"),
    ],
)
def test_numbers_of_many_configurations(
    tmp_path: Path, config: dict[str, Any], expected: tuple[int | None, ...]
) -> None:
    model = read_model(write_model(tmp_path, config=config))
    assert (model.attention_heads, model.kv_heads, model.hidden_layers) == expected


@pytest.mark.parametrize(
    ("config", "method"),
    [
        pytest.param({"quantization_config": {"quant_method": "fp8"}}, "fp8", id="top"),
        pytest.param({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "awq", id="nested"),
        pytest.param({"quantization_config": "fp8"}, "", id="not-an-object"),
    ],
)
def test_quantization(tmp_path: Path, config: dict[str, Any], method: str) -> None:
    assert read_model(write_model(tmp_path, config=config)).quantization == method


def test_params_json_is_enough_where_there_is_no_config_json(tmp_path: Path) -> None:
    write_model(tmp_path, {"consolidated.safetensors": ["layers.0.attention.wq.weight"]}, index="")
    (tmp_path / "config.json").unlink()
    (tmp_path / "params.json").write_text(json.dumps({"n_heads": 32, "n_kv_heads": 8, "n_layers": 40}))
    model = read_model(tmp_path)
    assert (model.attention_heads, model.kv_heads, model.hidden_layers) == (32, 8, 40)
    assert model.config_file.name == "params.json"


def _file_instead(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.write_text("")


def _emptied(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


def _moved_deeper(directory: Path) -> None:
    (directory / "config.json").unlink()
    write_model(directory / "llama")


def _piped(directory: Path) -> None:
    (directory / INDEX).unlink()
    os.mkfifo(directory / INDEX)


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / name).write_bytes(content)

    return change


def _unlink(*names: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return change


SECOND = "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        pytest.param(
            shutil.rmtree, ExitCode.MODEL_MISSING, "no such model directory", id="directory-missing"
        ),
        pytest.param(_file_instead, ExitCode.MODEL_MISSING, "is a file", id="directory-is-a-file"),
        pytest.param(_emptied, ExitCode.MODEL_MISSING, "is empty", id="directory-empty"),
        pytest.param(_unlink("config.json"), ExitCode.MODEL_CONFIG, "no config.json", id="config-missing"),
        pytest.param(_moved_deeper, ExitCode.MODEL_CONFIG, "one in llama", id="config-one-level-deeper"),
        pytest.param(
            _write("config.json", b'{"a": 1,\n "b": }'),
            ExitCode.MODEL_CONFIG,
            "line 2, column 7",
            id="config-cut",
        ),
        pytest.param(
            _write("config.json", b"[]"), ExitCode.MODEL_CONFIG, "but a list", id="config-is-a-list"
        ),
        pytest.param(
            _write("config.json", b"\xff\xfe"), ExitCode.MODEL_CONFIG, "UTF-8", id="config-is-binary"
        ),
        pytest.param(_unlink(SECOND), ExitCode.SHARD_ABSENT, SECOND, id="one-shard-absent"),
        pytest.param(
            _unlink("model-00001-of-00002.safetensors", SECOND),
            ExitCode.SHARD_ABSENT,
            "2 are not there: model-00001-of-00002.safetensors and 1 more",
            id="all-shards-absent",
        ),
        pytest.param(_unlink(INDEX, SECOND), ExitCode.SHARD_ABSENT, SECOND, id="gap-without-index"),
        pytest.param(_piped, ExitCode.MODEL_CONFIG, "it is not a file", id="index-is-a-pipe"),
        pytest.param(_write(INDEX, b'{"weight_map":'), ExitCode.MODEL_CONFIG, "line 1", id="index-cut"),
        pytest.param(
            _write(INDEX, b'{"weight_map": 3}'), ExitCode.MODEL_CONFIG, "weight_map", id="index-odd"
        ),
        pytest.param(
            _write(INDEX, b'{"weight_map": {}}'), ExitCode.MODEL_CONFIG, "names no file", id="index-empty"
        ),
        pytest.param(
            _write(INDEX, b'{"weight_map": {"a": "../x.safetensors"}}'),
            ExitCode.MODEL_CONFIG,
            "names no file in this directory",
            id="index-points-outside",
        ),
        pytest.param(_write(SECOND, b""), ExitCode.SHARD_TRUNCATED, "the file has 0", id="shard-empty"),
        pytest.param(
            _write(SECOND, b"version https://git-lfs.github.com/spec/v1\n"),
            ExitCode.SHARD_TRUNCATED,
            "git lfs pull",
            id="shard-is-an-lfs-pointer",
        ),
        pytest.param(
            _write(SECOND, b"\xff" * 64), ExitCode.SHARD_TRUNCATED, "not a safetensors", id="shard-garbage"
        ),
        pytest.param(
            _write(SECOND, struct.pack("<Q", 4) + b"[1,]"),
            ExitCode.SHARD_TRUNCATED,
            "its header",
            id="header-garbage",
        ),
        pytest.param(
            _write(SECOND, struct.pack("<Q", 99) + b"{}"),
            ExitCode.SHARD_TRUNCATED,
            "says 107 bytes",
            id="header-cut",
        ),
    ],
)
def test_a_damaged_directory_is_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], None], code: ExitCode, words: str
) -> None:
    directory = write_model(tmp_path / "models")
    damage(directory)
    with pytest.raises(MultinodeError) as raised:
        read_model(directory)
    assert raised.value.code is code
    assert words in str(raised.value)
    assert str(directory) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.hint


@pytest.mark.parametrize(
    "change", [pytest.param(-1, id="one-byte-short"), pytest.param(1, id="one-byte-long")]
)
def test_a_shard_is_as_long_as_its_header_says(tmp_path: Path, change: int) -> None:
    directory = write_model(tmp_path)
    length = (directory / SECOND).stat().st_size
    os.truncate(directory / SECOND, length + change)
    with pytest.raises(
        MultinodeError, match=f"says {length} bytes, the file has {length + change}"
    ) as raised:
        read_model(directory)
    assert raised.value.code is ExitCode.SHARD_TRUNCATED
    assert raised.value.where == str(directory / SECOND)


def test_no_weights_at_all(tmp_path: Path) -> None:
    write_model(tmp_path, {}, index="")
    with pytest.raises(MultinodeError, match="no weights") as raised:
        read_model(tmp_path)
    assert raised.value.code is ExitCode.SHARD_ABSENT
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(MultinodeError, match="GGUF"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        pytest.param(["model.safetensors"], ["model.safetensors"], id="single"),
        pytest.param(["b.safetensors", "a.safetensors"], ["a.safetensors", "b.safetensors"], id="several"),
        pytest.param(
            ["model.safetensors", "pytorch_model.bin"], ["model.safetensors"], id="safetensors-before-bin"
        ),
        pytest.param(
            ["consolidated.safetensors", "model.safetensors"],
            ["consolidated.safetensors"],
            id="consolidated-first",
        ),
        pytest.param(
            ["pytorch_model.bin", "training_args.bin"], ["pytorch_model.bin"], id="no-trainer-files"
        ),
        pytest.param(["weights.pt", "optimizer.pt"], ["weights.pt"], id="pt-last"),
    ],
)
def test_the_files_that_the_engine_would_load(tmp_path: Path, present: list[str], chosen: list[str]) -> None:
    write_model(tmp_path, {name: ["model.layers.0.a.weight"] for name in present}, index="")
    model = read_model(tmp_path)
    assert [shard.name for shard in model.shards] == chosen
    assert [shard.checked for shard in model.shards] == [name.endswith("safetensors") for name in chosen]


def test_a_stale_index_of_another_format_does_not_matter(tmp_path: Path) -> None:
    write_model(tmp_path, {"pytorch_model.bin": ["model.layers.0.a.weight"]}, index="")
    (tmp_path / INDEX).write_text('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')
    assert [shard.name for shard in read_model(tmp_path).shards] == ["pytorch_model.bin"]


@pytest.mark.parametrize(
    ("present", "words"),
    [
        pytest.param(
            ["m-00002-of-00003.safetensors"], "2 are not there: m-00001-of-00003", id="two-of-three"
        ),
        pytest.param(
            ["m-00001-of-000163.safetensors"], "162 are not there: m-00002-of-000163", id="widths-differ"
        ),
        pytest.param(["m-1-of-999999999.safetensors"], "999999998 are not there: m-2-of-", id="absurd"),
    ],
)
def test_gaps_in_the_numbers_without_an_index(tmp_path: Path, present: list[str], words: str) -> None:
    write_model(tmp_path, {name: ["a"] for name in present}, index="")
    with pytest.raises(MultinodeError, match=words) as raised:
        read_model(tmp_path)
    assert raised.value.code is ExitCode.SHARD_ABSENT


def test_numbers_from_nought_have_no_gap(tmp_path: Path) -> None:
    write_model(tmp_path, {f"m-0000{number}-of-00003.safetensors": ["a"] for number in range(2)}, index="")
    assert len(read_model(tmp_path).shards) == 2


def test_files_that_the_index_does_not_name_are_not_looked_at(tmp_path: Path) -> None:
    directory = write_model(tmp_path)
    (directory / "adapter.safetensors").write_bytes(b"damaged")
    assert len(read_model(directory).shards) == 2


def test_bin_files_of_an_index_are_checked_for_being_there(tmp_path: Path) -> None:
    shards = {"pytorch_model-1.bin": ["a"], "pytorch_model-2.bin": ["b"]}
    write_model(tmp_path, shards, index="pytorch_model.bin.index.json")
    assert [shard.checked for shard in read_model(tmp_path).shards] == [False, False]
    (tmp_path / "pytorch_model-2.bin").unlink()
    with pytest.raises(MultinodeError, match=r"pytorch_model-2\.bin"):
        read_model(tmp_path)


def test_the_fingerprint_knows_neither_path_nor_time_nor_the_order_of_keys(tmp_path: Path) -> None:
    here = write_model(tmp_path / "here")
    there = tmp_path / "elsewhere" / "there"
    shutil.copytree(here, there)
    (there / "config.json").write_text(json.dumps(dict(reversed(CONFIG.items())), indent=2))
    for path in there.iterdir():
        os.utime(path, (1, 1))
    assert read_model(here).fingerprint == read_model(there).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_write("config.json", json.dumps({**CONFIG, "rope_theta": 1.0}).encode()), id="config"),
        pytest.param(_write("tokenizer.json", b'{"version": 1}'), id="tokenizer"),
        pytest.param(
            _write(SECOND, safetensors(["model.layers.1.b.weight", "lm_head.weight"])), id="name-of-a-tensor"
        ),
        pytest.param(
            _write(SECOND, safetensors(["model.layers.1.a.weight", "lm_head.weight"], 32)),
            id="length-of-a-tensor",
        ),
        pytest.param(
            _write(INDEX, json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}).encode()),
            id="index",
        ),
    ],
)
def test_the_fingerprint_knows_everything_else(tmp_path: Path, change: Callable[[Path], None]) -> None:
    directory = write_model(tmp_path)
    before = read_model(directory).fingerprint
    change(directory)
    assert read_model(directory).fingerprint != before


def test_the_fingerprint_does_not_read_tensors(tmp_path: Path) -> None:
    directory = write_model(tmp_path)
    before = read_model(directory).fingerprint
    content = (directory / SECOND).read_bytes()
    (directory / SECOND).write_bytes(content[:-1] + b"\x01")
    assert read_model(directory).fingerprint == before


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pipe_in_the_place_of_weights_is_not_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    os.mkfifo(tmp_path / name)
    with pytest.raises(MultinodeError, match="it is not a file") as caught:
        read_model(tmp_path)
    assert caught.value.code is ExitCode.SHARD_ABSENT

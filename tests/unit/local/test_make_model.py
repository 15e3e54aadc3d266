"""The made model: the same bytes each time, whole or not there, and readable by what will read it."""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.tiny_model import model_tokenizer, model_weights
from vllm_multinode.local.tiny_model.make_model import make_model

FLOAT32_DIGEST = "b767ed6cc888e27537386d0fd46f87f34b66fdb9026f87efa628834104257497"
BFLOAT16_DIGEST = "6ec53a0695afd83ecf190f16bb9deb18317ca34aa065492e88cac9a9898db3a4"


def digest(directory: Path) -> str:
    """Hash every file's name and content."""
    whole = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def read_shard(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    return header, content[8 + length :]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        pytest.param("float32", FLOAT32_DIGEST, id="float32"),
        pytest.param("bfloat16", BFLOAT16_DIGEST, id="bfloat16"),
    ],
)
def test_bytes_are_the_same_everywhere(tmp_path: Path, dtype: Any, expected: str) -> None:
    make_model(tmp_path / "one", dtype=dtype)
    make_model(tmp_path / "two", dtype=dtype)
    assert digest(tmp_path / "one") == digest(tmp_path / "two") == expected


def test_another_seed_makes_other_weights(tmp_path: Path) -> None:
    make_model(tmp_path / "one", seed=1)
    make_model(tmp_path / "two", seed=2)
    names = [path.name for path in sorted((tmp_path / "one").glob("*.safetensors"))]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() != (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shards", [1, 2, 5, 21])
def test_shards_hold_what_config_and_index_say(tmp_path: Path, shards: int, dtype: Any) -> None:
    made = make_model(tmp_path / "model", layers=2, shards=shards, dtype=dtype)
    config = json.loads((made.directory / "config.json").read_text())
    index = json.loads((made.directory / "model.safetensors.index.json").read_text())
    files = sorted(made.directory.glob("*.safetensors"))
    assert len(files) == made.shards == shards
    assert sum(path.stat().st_size for path in files) == made.size
    width = 4 if dtype == "float32" else 2
    seen: dict[str, str] = {}
    parameters = 0
    for path in files:
        header, data = read_shard(path)
        assert header.pop("__metadata__") == {"format": "pt"}
        assert header, f"{path.name} holds no tensor"
        assert max(entry["data_offsets"][1] for entry in header.values()) == len(data)
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            assert end - start == prod(entry["shape"]) * width
            assert entry["dtype"] == {"float32": "F32", "bfloat16": "BF16"}[dtype]
            parameters += prod(entry["shape"])
            seen[name] = path.name
    assert seen == index["weight_map"]
    assert parameters == made.parameters
    assert index["metadata"]["total_size"] == parameters * width
    assert config["torch_dtype"] == dtype


def test_sizes_reach_config_and_tensors(tmp_path: Path) -> None:
    made = make_model(
        tmp_path, layers=3, heads=8, kv_heads=2, width=512, intermediate=100, vocab=4096, shards=1
    )
    header, _ = read_shard(next(made.directory.glob("*.safetensors")))
    shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    assert shapes["model.embed_tokens.weight"] == shapes["lm_head.weight"] == [4096, 512]
    assert shapes["model.layers.2.self_attn.q_proj.weight"] == [8 * 64, 512]
    assert shapes["model.layers.2.self_attn.k_proj.weight"] == [2 * 64, 512]
    assert shapes["model.layers.2.self_attn.o_proj.weight"] == [512, 8 * 64]
    assert shapes["model.layers.2.mlp.down_proj.weight"] == [512, 100]
    assert "model.layers.3.input_layernorm.weight" not in shapes
    config = json.loads((made.directory / "config.json").read_text())
    assert config["num_hidden_layers"] == 3
    assert config["head_dim"] == 64


def test_only_words_can_be_generated(tmp_path: Path) -> None:
    made = make_model(tmp_path, shards=1)
    header, data = read_shard(next(made.directory.glob("*.safetensors")))
    start, end = header["lm_head.weight"]["data_offsets"]
    rows, width = header["lm_head.weight"]["shape"]
    values = struct.unpack(f"<{rows * width}f", data[start:end])
    live = {row for row in range(rows) if any(values[row * width : (row + 1) * width])}
    tokenizer, _, words = model_tokenizer.build()
    assert live == set(words)
    spelled = {token: spelling for spelling, token in tokenizer["model"]["vocab"].items()}
    assert all(spelled[token][1:].isalpha() for token in live)


def test_scale_of_weights_is_what_was_meant(tmp_path: Path) -> None:
    made = make_model(tmp_path, shards=1)
    header, data = read_shard(next(made.directory.glob("*.safetensors")))
    for name, spread in {
        "model.embed_tokens.weight": 0.3,
        "model.layers.0.mlp.up_proj.weight": 0.125,
    }.items():
        start, end = header[name]["data_offsets"]
        values = struct.unpack(f"<{(end - start) // 4}f", data[start:end])
        assert abs(sum(values) / len(values)) < 0.02
        assert (sum(value * value for value in values) / len(values)) ** 0.5 == pytest.approx(
            spread, rel=0.02
        )


def test_large_tensors_repeat_a_block_and_are_whole(tmp_path: Path) -> None:
    made = make_model(tmp_path, layers=1, width=512, intermediate=300, shards=1)
    header, data = read_shard(next(made.directory.glob("*.safetensors")))
    start, end = header["model.layers.0.mlp.up_proj.weight"]["data_offsets"]
    tensor, block = data[start:end], 65_537 * 4
    assert tensor[block : 2 * block] == tensor[:block]
    assert tensor[: 512 * 4] != tensor[512 * 4 : 1024 * 4]


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        pytest.param({"layers": 0}, "layers", id="no-layer"),
        pytest.param({"heads": -4}, "heads", id="negative-heads"),
        pytest.param({"kv_heads": 3}, "kv_heads", id="kv-heads-do-not-divide"),
        pytest.param({"kv_heads": 8}, "kv_heads", id="more-kv-heads-than-heads"),
        pytest.param({"width": 0}, "width", id="no-width"),
        pytest.param({"width": 1025}, "heads", id="heads-too-wide"),
        pytest.param({"intermediate": 0}, "intermediate", id="no-intermediate"),
        pytest.param({"vocab": 256}, "vocab", id="vocab-below-tokenizer"),
        pytest.param({"shards": 0}, "shards", id="no-shard"),
        pytest.param({"shards": 40}, "shards", id="more-shards-than-tensors"),
        pytest.param({"dtype": "int8"}, "dtype", id="unknown-dtype"),
    ],
)
def test_sizes_that_cannot_be_are_refused_by_name(tmp_path: Path, sizes: dict[str, Any], name: str) -> None:
    with pytest.raises(MultinodeError) as refused:
        make_model(tmp_path / "model", **sizes)
    assert refused.value.code is ExitCode.MODEL_NOT_MADE
    assert refused.value.where == name
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_made_model_is_replaced(tmp_path: Path) -> None:
    make_model(tmp_path / "model", shards=3)
    make_model(tmp_path / "model", shards=1)
    assert [path.name for path in (tmp_path / "model").glob("*.safetensors")] == [
        "model-00001-of-00001.safetensors"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def _file(path: Path) -> None:
    path.write_text("mine")


def _foreign_model(path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text("{}")


def _made_and_added_to(path: Path) -> None:
    make_model(path)
    (path / "notes.txt").write_text("mine")


@pytest.mark.parametrize("stand", [_file, _foreign_model, _made_and_added_to])
def test_what_was_not_made_here_is_left_alone(tmp_path: Path, stand: Callable[[Path], None]) -> None:
    directory = tmp_path / "model"
    stand(directory)
    before = digest(directory) if directory.is_dir() else directory.read_text()
    with pytest.raises(MultinodeError) as refused:
        make_model(directory)
    assert refused.value.code is ExitCode.MODEL_NOT_MADE
    assert refused.value.where == str(directory)
    assert (digest(directory) if directory.is_dir() else directory.read_text()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path / "model")
    before = digest(tmp_path / "model")

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_weights, "write_shard", full_disk)
    with pytest.raises(MultinodeError, match="No space left on device"):
        make_model(tmp_path / "model", shards=1)
    assert digest(tmp_path / "model") == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_directory_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "disk")
    make_model(tmp_path / "model")
    assert (tmp_path / "model").is_symlink()
    assert (tmp_path / "disk" / "config.json").is_file()


def test_tokenizer_reads_back_what_it_wrote(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers comes with the engine")
    make_model(tmp_path)
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("the river walks, héllo 1+1=2!\n", " the bridge", "naïve 漢字"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    words = " the river walks north"
    assert [tokenizer.decode([token]) for token in tokenizer.encode(words).ids] == [
        " the",
        " river",
        " walks",
        " north",
    ]
    config = json.loads((tmp_path / "config.json").read_text())
    assert tokenizer.get_vocab_size() == config["vocab_size"]
    assert tokenizer.token_to_id("<|end|>") == config["eos_token_id"]


def test_config_is_independent_of_where_it_is_made(tmp_path: Path) -> None:
    make_model(tmp_path / "a" / "b" / "model")
    make_model(tmp_path / "c")
    assert digest(tmp_path / "a" / "b" / "model") == digest(tmp_path / "c")
    shutil.rmtree(tmp_path / "c")

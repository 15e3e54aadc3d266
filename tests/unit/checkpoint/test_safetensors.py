import json
from pathlib import Path
from typing import Any

import pytest

from vllm_multinode.checkpoint.safetensors import Tensor, read_header
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.model.sources import find_model


def write(path: Path, entries: Any, body: int = 0) -> None:
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(body))


def entry(start: int, end: int, *shape: int) -> dict[str, Any]:
    return {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}


def test_the_tensors_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    entries = {"__metadata__": {"format": "pt"}, "a": entry(0, 8, 2, 2), "b": entry(8, 12, 2)}
    write(path, entries, 12)
    assert tuple(read_header(path).tensors()) == (Tensor("a", (2, 2), 8), Tensor("b", (2,), 4))


@pytest.mark.parametrize(
    ("entries", "body", "words"),
    [
        pytest.param({"a": entry(0, 8, 2, 2)}, 7, "its header says", id="cut"),
        pytest.param({"a": entry(0, 8, 2, 2)}, 9, "its header says", id="longer"),
        pytest.param([1], 0, "not that of a safetensors file", id="list"),
        pytest.param({"a": {"data_offsets": [0, 0]}}, 0, "a has no shape", id="no-shape"),
        pytest.param({"a": {"data_offsets": [0, float("inf")]}}, 0, "not that of", id="infinite"),
        pytest.param({"a": entry(4, 0, 2)}, 0, "ends before it begins", id="backwards"),
    ],
)
def test_a_damaged_file(tmp_path: Path, entries: Any, body: int, words: str) -> None:
    path = tmp_path / "model.safetensors"
    write(path, entries, body)
    with pytest.raises(MultinodeError) as raised:
        list(read_header(path).tensors())
    assert raised.value.code is ExitCode.SHARD_TRUNCATED
    assert words in raised.value.what


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param("cut", ExitCode.SHARD_TRUNCATED, id="cut"),
        pytest.param("absent", ExitCode.SHARD_ABSENT, id="absent"),
    ],
)
def test_sizing_refuses_what_the_launcher_refuses(tmp_path: Path, change: str, code: ExitCode) -> None:
    """One reader: the same file, the same words."""
    config = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "vocab_size": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name in names:
        write(tmp_path / name, {"a": entry(0, 8, 2, 2)}, 8)
    broken = tmp_path / names[1]
    if change == "cut":
        broken.write_bytes(broken.read_bytes()[:-1])
    else:
        broken.unlink()
    with pytest.raises(MultinodeError) as raised:
        find_model(str(tmp_path))
    assert raised.value.code is code
    assert names[1] in str(raised.value)

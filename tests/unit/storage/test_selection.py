import pytest

from vllm_multinode.storage.selection import select
from vllm_multinode.storage.sources.source import Item, is_model_file

LLAMA = (
    ".gitattributes",
    "README.md",
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "original/consolidated.00.pth",
    "original/params.json",
    "pytorch_model.bin",
    "tokenizer.json",
)


def names(given: tuple[str, ...], include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> set[str]:
    return {item.name for item in select([Item(name, 1, None, "") for name in given], include, exclude)}


def test_what_vllm_loads_and_no_second_copy_of_the_weights() -> None:
    left = {".gitattributes", "original/consolidated.00.pth", "original/params.json", "pytorch_model.bin"}
    assert names(LLAMA) == set(LLAMA) - left


def test_a_model_that_has_nothing_but_bin() -> None:
    assert names(("config.json", "pytorch_model.bin", "tf_model.h5")) == {
        "config.json",
        "pytorch_model.bin",
        "tf_model.h5",
    }


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        pytest.param(
            ("original/*",), (), {"original/consolidated.00.pth", "original/params.json"}, id="include"
        ),
        pytest.param(
            ("*.json",),
            ("original/*",),
            {name for name in LLAMA if name.count("/") == 0 and name.endswith(".json")},
            id="both",
        ),
        pytest.param((), ("*",), set(), id="nothing"),
    ],
)
def test_patterns(include: tuple[str, ...], exclude: tuple[str, ...], expected: set[str]) -> None:
    assert names(LLAMA, include, exclude) == expected


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../outside", "a/../../b", ".multinode-model.json", ".cache/x", "a/.b", "."]
)
def test_names_that_may_not_be_written(name: str) -> None:
    assert not is_model_file(name)

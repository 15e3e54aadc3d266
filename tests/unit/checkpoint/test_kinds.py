import json
from pathlib import Path

import pytest

from vllm_multinode.checkpoint.kinds import check_kind, check_tokenizer, refuse_kind
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


def holding(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param(("m-Q4_K_M.gguf",), "a GGUF (m-Q4_K_M.gguf)", id="gguf"),
        pytest.param(("a.gguf", "b.gguf", "config.json"), "a GGUF (a.gguf and 1 more)", id="gguf-in-parts"),
        pytest.param(("adapter_config.json", "adapter_model.safetensors"), "LoRA adapter,", id="lora"),
        pytest.param(
            ("adapter_config.json", "adapter_model.bin", "config.json"),
            "LoRA adapter,",
            id="with-a-config",
        ),
    ],
)
def test_named_as_what_it_is(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(MultinodeError) as refused:
        check_kind(holding(tmp_path, *names))
    assert refused.value.code is ExitCode.MODEL_CONFIG
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        pytest.param({"base_model_name_or_path": "org/base"}, "adapter for org/base, not", id="named"),
        pytest.param({"base_model_name_or_path": 7}, "adapter, not", id="a-number"),
        pytest.param([], "adapter, not", id="a-list"),
    ],
)
def test_what_an_adapter_was_made_for(tmp_path: Path, config: object, words: str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(MultinodeError, match=words):
        check_kind(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("config.json", "model.safetensors"), id="model"),
        pytest.param(("config.json", "model.safetensors", "m.gguf"), id="model-and-gguf"),
        pytest.param(("config.json", "model.safetensors", "adapter_config.json"), id="merged-adapter"),
        pytest.param((), id="empty"),
    ],
)
def test_left_to_the_reader_of_models(tmp_path: Path, names: tuple[str, ...]) -> None:
    check_kind(holding(tmp_path, *names))
    check_kind(tmp_path / "absent")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, id=name)
        for name in ("tokenizer.json", "tokenizer_config.json", "tekken.json", "vocab.txt", "qwen.tiktoken",
                     "spiece.model", "tokenization_own.py")
    ],
)  # fmt: skip
def test_any_tokenizer_will_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(MultinodeError, match="has no tokenizer"):
        check_tokenizer(holding(tmp_path, "config.json", "model.safetensors"))
    check_tokenizer(holding(tmp_path, name))


@pytest.mark.parametrize(
    "files",
    [pytest.param(("m.gguf", "README.md"), id="gguf"), pytest.param(("adapter_config.json",), id="lora")],
)
def test_a_list_of_files_is_enough(files: tuple[str, ...]) -> None:
    with pytest.raises(MultinodeError, match=r"the repository holds a (GGUF|LoRA)"):
        refuse_kind(files, "hf://org/name", "repository")
    refuse_kind([f"below/{name}" for name in files], "hf://org/name", "repository")

"""Folders that are no model, or need more than their files: `plan` and `validate` name them too."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from unit.cli.test_validate import good as good
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.tiny_model.make_model import make_model

Change = Callable[[Path], None]
PLAN = ["--gpu", "H100-SXM", "--gpus-per-node", "8"]
ADAPTER = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "org/base"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "llama").directory


def write_gguf(path: Path) -> None:
    """Version 3, no tensors, one key: the architecture."""
    key, value = b"general.architecture", b"llama"
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair)


def remove(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()


def as_gguf(folder: Path) -> None:
    remove(folder, "*.safetensors*")
    write_gguf(folder / "tiny-Q4_K_M.gguf")


def as_adapter(folder: Path) -> None:
    weights = (folder / "model-00001-of-00002.safetensors").read_bytes()
    remove(folder, "*.safetensors*")
    (folder / "config.json").unlink()
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER))


def without_tokenizer(folder: Path) -> None:
    remove(folder, "tokenizer*")


def with_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "architectures": ["OwnForCausalLM"],
        "model_type": "own",
        "auto_map": {"AutoConfig": "configuration_own.OwnConfig"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_own.py").write_text("class OwnConfig: ...\n")


def changed(made: Path, folder: Path, change: Change) -> Path:
    shutil.copytree(made, folder)
    change(folder)
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(as_gguf, "the folder holds a GGUF (tiny-Q4_K_M.gguf)", id="gguf"),
        pytest.param(as_adapter, "the folder holds a LoRA adapter for org/base, not a model", id="lora"),
    ],
)
def test_what_is_no_model(
    made: Path, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, words: str
) -> None:
    folder = str(changed(made, tmp_path / "model", change))
    for command in (["plan", folder, *PLAN], ["validate", str(good), "--model", folder]):
        assert run(command) == ExitCode.MODEL_CONFIG
        out, err = capsys.readouterr()
        (line,) = (line for line in err.splitlines() if not line.startswith("note: "))
        assert words in line
        assert out == ""


@pytest.mark.parametrize(
    ("change", "words", "option"),
    [
        pytest.param(without_tokenizer, "no tokenizer", "--tokenizer=org/base", id="tokenizer"),
        pytest.param(without_tokenizer, "no tokenizer", "--skip-tokenizer-init", id="no-tokenizer-wanted"),
        pytest.param(with_code, "code of its own", "--trust_remote_code", id="code"),
    ],
)
def test_what_needs_an_option(
    made: Path,
    good: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Change,
    words: str,
    option: str,
) -> None:
    folder = str(changed(made, tmp_path / "model", change))
    assert run(["plan", folder, *PLAN]) == ExitCode.OK
    assert words in " ".join(capsys.readouterr().out.split())
    judged = ["validate", str(good), "--kserve", "0.19.0", "--model", folder]
    assert run(judged) == ExitCode.MODEL_CONFIG
    assert words in capsys.readouterr().err
    good.write_text(good.read_text().replace("args:", f"args:\n      - {option}", 1))
    assert option in good.read_text()
    run(judged)
    assert words not in capsys.readouterr().err

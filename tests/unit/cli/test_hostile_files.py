"""Files that are no files, whatever reads them: one line within seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLAN = ("plan", "llama-3.1-405b-instruct", "--gpu", "H100-SXM")
READERS = [
    pytest.param(("validate",), id="validate"),
    pytest.param(("preview", "-f"), id="preview"),
    pytest.param(("convert",), id="convert"),
    pytest.param(("render", "-f"), id="render"),
    pytest.param((*PLAN, "--against"), id="plan-against"),
    pytest.param(("record", "--check"), id="record-check"),
    pytest.param(("bench", "llm", "--compare"), id="bench-compare"),
]


def refused(arguments: tuple[str, ...], file: Path) -> str:
    """What the command says, in three GiB of memory and half a minute."""
    limited = 'ulimit -v 3145728; exec "$@"'
    program = Path(sys.executable).with_name("multinode")
    ended = subprocess.run(
        ["bash", "-c", limited, "multinode", program, *arguments, file],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert ended.returncode not in (0, 1), ended
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) <= 3
    return ended.stderr


@pytest.mark.parametrize("arguments", READERS)
def test_a_file_without_an_end(arguments: tuple[str, ...], tmp_path: Path) -> None:
    endless = tmp_path / "endless"
    endless.symlink_to("/dev/zero")
    assert str(endless) in refused(arguments, endless)


@pytest.mark.parametrize("arguments", READERS)
def test_a_pipe_that_nobody_writes_to(arguments: tuple[str, ...], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert str(pipe) in refused(arguments, pipe)


def test_a_pipe_in_the_place_of_a_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    assert "has no config.json" in refused(("plan", "--gpu", "H100-SXM"), tmp_path)


def test_a_pipe_among_the_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    os.mkfifo(tmp_path / "model.safetensors")
    assert "model.safetensors" in refused(("plan", "--gpu", "H100-SXM"), tmp_path)


def test_a_pipe_in_the_place_of_a_program(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "serve.py")
    assert "it is not a file" in refused(("convert",), tmp_path / "serve.py")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("plan", "--gpu", "H100-SXM"), id="plan"),
        pytest.param(("up",), id="up"),
        pytest.param(("preview", "-f"), id="preview"),
        pytest.param(("render", "-f"), id="render"),
    ],
)
def test_a_name_longer_than_any_file_has(arguments: tuple[str, ...]) -> None:
    assert "xxx" in refused(arguments, Path("x" * 100_000))

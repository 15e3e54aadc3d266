"""On a terminal no line is wider than it is, and no word is broken."""

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_TIMEOUT = 120
COMMANDS = [
    pytest.param("plan llama-3.1-405b-instruct --gpu H100-SXM --gpus-per-node 8", id="plan"),
    pytest.param("plan llama-3.1-405b-instruct --gpu L4 --nodes 1 --explain", id="plan-explained"),
    pytest.param("preview -f spec.yaml", id="preview"),
    pytest.param("validate -f spec.yaml", id="validate"),
    pytest.param("models deepseek", id="models"),
    pytest.param("gpus H100", id="gpus"),
    pytest.param("plan --help", id="help-of-a-command"),
    pytest.param("--help", id="help"),
    pytest.param("render -f absent.yaml", id="error"),
    pytest.param("render --absent", id="usage"),
]


def on_terminal(command: str, columns: int, folder: Path) -> str:
    """What a command shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    program = "import sys; from vllm_multinode.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, *shlex.split(command)],
        cwd=folder, env={**environment, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the terminal's end, once its last writer is gone
                break
            if not part:
                break
            shown += part
        process.wait(timeout=_TIMEOUT)
    os.close(ours)
    return _ESCAPES.sub("", shown.decode()).replace("\r\n", "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text((ROOT / "tests/data/authoring/llama-70b/spec.yaml").read_text())
    return tmp_path


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("command", COMMANDS)
def test_lines_fit_the_terminal(command: str, columns: int, folder: Path) -> None:
    shown = on_terminal(command, columns, folder)
    assert shown.strip()
    # A single word, such as a path, may be longer than the terminal; it is not broken.
    wide = [line for line in shown.split("\n") if len(line) > columns and len(line.split()) > 1]
    assert wide == []


def test_no_word_is_broken(folder: Path) -> None:
    command = "plan llama-3.1-405b-instruct --gpu H100-SXM --gpus-per-node 8"
    assert on_terminal(command, 40, folder).split() == on_terminal(command, 500, folder).split()


def test_elsewhere_lines_stay_whole(folder: Path) -> None:
    program = "import sys; from vllm_multinode.cli.main import main; main()"
    command = [sys.executable, "-c", program, "render", "-f", "absent.yaml"]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False,
        env={**os.environ, "COLUMNS": "20"},
    )  # fmt: skip
    assert ended.stderr.count("\n") == 1

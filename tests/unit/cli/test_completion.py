"""Completion in the real shells: a line and TAB are typed on a terminal, and the shell completes it."""

import fcntl
import os
import pty
import re
import select
import shutil
import socketserver
import stat
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_multinode.local.rundir import Runs
from vllm_multinode.local.world.protocol import NodeStatus, Reply, RunStatus

_COMMANDS = {
    "multinode": "vllm_multinode.cli.main",
    "kubectl-multinode": "vllm_multinode.cli.main",
    "kubectl_complete-multinode": "vllm_multinode.cli.kubectl",
}
_KUBECTL = Path(sys.executable).parent / "kubectl"
"""The development environment brings it."""
_BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
"""What kubectl's own completion needs in bash."""
_DEADLINE = 60.0
_SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config"],
}
_START = {
    "bash": "source <({program} completion bash)",
    "zsh": "autoload -Uz compinit; compinit -u -D; source <({program} completion zsh); setopt no_beep",
    "fish": "{program} completion fish | source",
}
_KILL_LINE = b"\x15"
_TERMINAL_CODES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[=>]|\][^\x07]*\x07)")


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._outside, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 160, 0, 0))
        self._process = subprocess.Popen(
            # fish ends where the terminal does not control it.
            ["setsid", "--ctty", *command], stdin=inside, stdout=inside, stderr=inside, env=environment,
            cwd=folder,
        )  # fmt: skip
        os.close(inside)

    def type(self, keys: bytes) -> None:
        os.write(self._outside, keys)

    def read_until(self, wanted: str) -> str:
        """What is shown, up to the wanted text.

        Raises:
            AssertionError: it is not shown within a minute.
        """
        seen, deadline = "", time.monotonic() + _DEADLINE
        while wanted not in seen:
            ready, _, _ = select.select([self._outside], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{wanted!r} is not offered; seen: {seen[-2000:]!r}"
            seen += _TERMINAL_CODES.sub("", os.read(self._outside, 65536).decode(errors="replace"))
        return seen

    def close(self) -> None:
        self._process.kill()
        self._process.wait(timeout=_DEADLINE)
        os.close(self._outside)


class _Answer(socketserver.StreamRequestHandler):
    """A run that has a head and a worker."""

    def handle(self) -> None:
        self.rfile.readline()
        nodes = tuple(
            NodeStatus(node=name, pod=f"llm-{name}", role=role, address="10.0.0.1", process="running")
            for name, role in (("head", "head"), ("worker-1", "worker"))
        )
        self.wfile.write(Reply(status=RunStatus(run="tiny", nodes=nodes)).model_dump_json().encode() + b"\n")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where `multinode` is a command, a run lives, and the home is empty but for a file."""
    home = tmp_path_factory.mktemp("home")
    programs = home / "bin"
    programs.mkdir()
    for name, module in _COMMANDS.items():
        script = programs / name
        script.write_text(f"#!{sys.executable}\nfrom {module} import main\nmain()\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    if _KUBECTL.exists():
        (programs / "kubectl").symlink_to(_KUBECTL)
    (home / "manifests-of-mine.yaml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(home))
        held = Runs.of_this_user().create("tiny", "tiny")
    with socketserver.ThreadingUnixStreamServer(str(held.directory.control), _Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
        }
        server.shutdown()
    held.remove()


def _opened(shell: str, start: str, environment: dict[str, str]) -> Iterator[Terminal]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    terminal = Terminal(_SHELLS[shell], environment, Path(environment["HOME"]))
    try:
        terminal.type(f"{start}; echo READY''-NOW\n".encode())
        terminal.read_until("READY-NOW")
        yield terminal
    finally:
        terminal.close()


def complete(terminal: Terminal, typed: str, offered: str) -> None:
    """Type a word's beginning and TAB, and wait for its rest."""
    terminal.type(_KILL_LINE + typed.encode() + b"\t")
    terminal.read_until(offered)
    terminal.type(_KILL_LINE)


@pytest.fixture(scope="module", params=list(_SHELLS))
def terminal(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[Terminal]:
    """A shell that has read what `multinode completion` prints."""
    yield from _opened(request.param, _START[request.param].format(program="multinode"), environment)


@pytest.fixture(scope="module", params=list(_SHELLS))
def kubectl_terminal(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[Terminal]:
    """A shell that has read what `kubectl completion` prints."""
    start = _START[request.param].format(program="kubectl")
    if request.param == "bash":
        if not _BASH_COMPLETION.exists():
            pytest.skip("bash-completion is not installed here")
        start = f"source {_BASH_COMPLETION}; {start}"
    yield from _opened(request.param, start, environment)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        pytest.param("multinode pre", "view", id="command"),
        pytest.param("multinode local ma", "ke-model", id="subcommand"),
        pytest.param("multinode plan --max-num-b", "atched-tokens", id="option"),
        pytest.param("multinode fetch --sizes", "-only", id="option-of-an-image"),
        pytest.param("multinode plan x -o y", "aml", id="output"),
        pytest.param("multinode plan llama-3.1-405b-instruct-", "fp8", id="model"),
        pytest.param("multinode plan x --gpu H100-N", "VL-94GB", id="gpu"),
        pytest.param("multinode plan x --gpu p5.48", "xlarge", id="node-shape"),
        pytest.param("multinode validate --platform kserve-0.19", ".0", id="platform"),
        pytest.param("multinode local status --run ti", "ny", id="run"),
        pytest.param("multinode local kill w", "orker-1", id="node"),
        pytest.param("multinode status --local ti", "ny", id="local-service"),
        pytest.param("multinode validate -f manif", "ests-of-mine.yaml", id="file"),
    ],
)
def test_a_shell_offers(terminal: Terminal, typed: str, offered: str) -> None:
    complete(terminal, typed, offered)


@pytest.mark.skipif(not _KUBECTL.exists(), reason="kubectl is not beside this Python")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        pytest.param("kubectl multinode pre", "view", id="command"),
        pytest.param("kubectl multinode local ma", "ke-model", id="subcommand"),
        pytest.param("kubectl multinode plan --max-num-b", "atched-tokens", id="option"),
        pytest.param("kubectl multinode plan llama-3.1-405b-instruct-", "fp8", id="model"),
        pytest.param("kubectl multinode validate --platform kserve-0.19", ".0", id="platform"),
        pytest.param("kubectl multinode local kill w", "orker-1", id="node"),
        pytest.param("kubectl multinode validate -f manif", "ests-of-mine.yaml", id="file"),
    ],
)
def test_kubectl_offers(kubectl_terminal: Terminal, typed: str, offered: str) -> None:
    complete(kubectl_terminal, typed, offered)


@pytest.mark.skipif(not _KUBECTL.exists(), reason="kubectl is not beside this Python")
@pytest.mark.parametrize(
    ("words", "lines"),
    [
        pytest.param(["plan", "x", "--gpu", "H100-N"], ["H100-NVL-94GB", ":36"], id="value"),
        pytest.param(
            ["validate", "--platform=kserve-0.19"], ["kserve-0.19.0", ":36"], id="value-after-equals"
        ),
        pytest.param(["local", "kill", ""], ["head", "worker-1", ":36"], id="nodes"),
        pytest.param(["validate", "-f", ""], [":0"], id="files"),
        pytest.param(["render", "-f", "x", "--out", ""], [":16"], id="folders"),
        pytest.param(["plan", "x", "-o", "toml"], [":36"], id="nothing"),
    ],
)
def test_kubectl_gets(environment: dict[str, str], words: list[str], lines: list[str]) -> None:
    ended = subprocess.run(
        ["kubectl", "__complete", "multinode", *words],
        env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=True,
        timeout=_DEADLINE,
    )  # fmt: skip
    assert ended.stdout.splitlines() == lines

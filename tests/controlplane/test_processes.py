"""Programs in the background: what is said when they do not start, and how they end."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from controlplane.plane.processes import Program, StartFailedError
from engine.services import eventually
from free_ports import free_port


def shell(script: str, folder: Path) -> Program:
    return Program("server", ["/bin/sh", "-c", script], folder / "server.log")


def test_one_that_ends_says_what_it_said_last(tmp_path: Path) -> None:
    program = shell("echo listening; echo cannot listen >&2; exit 3", tmp_path)
    with pytest.raises(StartFailedError, match=r"(?s)ended with exit code 3.*listening\ncannot listen$"):
        program.wait_until(lambda: False, 30)


def test_one_that_is_not_ready_in_time_says_what_it_said_last(tmp_path: Path) -> None:
    program = shell("echo waiting for the moon; exec sleep 60", tmp_path)
    try:
        eventually(lambda: "moon" in program.log.read_text())
        with pytest.raises(StartFailedError, match=r"(?s)server was not ready within 0.1 s.*moon$"):
            program.wait_until(lambda: False, 0.1)
    finally:
        program.end()


def test_another_programs_answer_does_not_make_an_ended_one_ready(tmp_path: Path) -> None:
    program = shell("exit 1", tmp_path)
    eventually(lambda: not alive(program.pid))
    with pytest.raises(StartFailedError, match="exit code 1"):
        program.wait_until(lambda: True, 30)


def test_the_end_of_one_that_hears_no_sigterm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.plane.processes._END_TIMEOUT", 0.2)
    program = shell("trap '' TERM; echo up; while :; do sleep 0.1; done", tmp_path)
    program.wait_until(lambda: "up" in program.log.read_text(), 30)
    program.end()
    program.end()
    assert not alive(program.pid)


def test_programs_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = f"""
        import pathlib, time
        from controlplane.plane.processes import Program
        program = Program("server", ["/bin/sleep", "600"], pathlib.Path({str(tmp_path / "log")!r}))
        print(program.pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    eventually(lambda: not alive(child))


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        assert listener.getsockname()[1] > 0


def alive(pid: int) -> bool:
    """Whether it runs; one that waits to be reaped does not."""
    try:
        os.kill(pid, signal.SIG_DFL)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"

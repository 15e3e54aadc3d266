"""Runs what installs signal handlers, adopts orphans or kills its descendants in a process of its own.

A fork rather than a new interpreter: everything is imported already, so a case costs milliseconds.
"""

import asyncio
import os
import secrets
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MARK = "UNIT_TEST_PROCESS"


@dataclass
class Alone:
    """A forked process, in a session of its own, whose output goes to two files.

    Args:
        pid: of the fork.
        mark: is in the environment of whatever it starts.
        stdout: file of its standard output.
        stderr: file of its standard error.
    """

    pid: int
    mark: str
    stdout: Path
    stderr: Path
    _status: int | None = field(default=None, init=False)

    def poll(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        if self._status is None:
            pid, raw = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(raw)
        return self._status

    def wait(self, timeout: float = 15) -> int:
        """The exit status, once there is one."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            assert time.monotonic() < deadline, f"still runs:\n{self.output()}"
            time.sleep(0.01)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """To the process itself, not to what it has started."""
        os.kill(self.pid, number)

    def output(self) -> str:
        """Both streams, for a failed assertion's message."""
        return self.stdout.read_text() + self.stderr.read_text()

    def left(self) -> list[str]:
        """Command lines of what it has started and what still runs, however detached."""
        return [line for pid, line in _marked(self.mark) if pid != self.pid]

    def end(self) -> None:
        """Kill whatever is left."""
        for pid, _ in _marked(self.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()


def _marked(mark: str) -> Iterator[tuple[int, str]]:
    wanted = f"{_MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield int(entry.name), line


@contextmanager
def forked(work: Callable[[], int], folder: Path, environment: dict[str, str]) -> Iterator[Alone]:
    """Run `work` in a fork with that environment; its result is the exit status."""
    mark = secrets.token_hex(8)
    found = Alone(0, mark, folder / f"{mark}.stdout", folder / f"{mark}.stderr")
    for path in (found.stdout, found.stderr):
        path.touch()
    with warnings.catch_warnings():
        # From 3.12 on: "multi-threaded, use of fork() may lead to deadlocks". No thread of ours holds a lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        found.pid = os.fork()
    if found.pid == 0:
        _become(work, found, environment | {_MARK: mark})
    try:
        yield found
    finally:
        found.end()


def _become(work: Callable[[], int], found: Alone, environment: dict[str, str]) -> None:
    """The fork's side; never returns into the test."""
    status = 99
    try:
        os.setsid()
        for number, path in ((1, found.stdout), (2, found.stderr)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(environment)
        status = work()
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - pytest's own are not to run in the fork
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def check(scenario: Callable[[], Coroutine[Any, Any, None]], folder: Path) -> None:
    """Run a coroutine function in a fork, and hold it to its assertions and to leaving nothing behind."""

    def work() -> int:
        asyncio.run(scenario())
        return 0

    with forked(work, folder, {"PATH": os.defpath}) as alone:
        assert alone.wait() == 0, alone.output()
        assert alone.left() == []

"""Programs that run in the background, end with this process, and say in an error why they did not start."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from vllm_multinode.local.world import syscalls

_POLL: Final = 0.05
_END_TIMEOUT: Final = 10.0
_SAID_BYTES: Final = 16_384
_SAID_LINES: Final = 12


class StartFailedError(Exception):
    """A program ended or was not ready in time; the text ends with the last lines of its log."""


class Program:
    """A running program.

    It is killed by the kernel when the thread that started it ends, so start it in the main thread.
    """

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it.

        Args:
            name: what errors call it.
            argv: the program and its arguments.
            log: gets its output.
            environment: variables besides PATH and HOME.
        """
        self.name = name
        self.log = log
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**kept, **(environment or {})},
                # A terminal's Ctrl-C is for us alone: we end them, and in order.
                start_new_session=True,
                preexec_fn=partial(_die_with, os.getpid()),
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Return as soon as `ready` says so.

        Raises:
            StartFailedError: the program ended, or was not ready within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            # Asked first: what answers may be another program that had the port already.
            if (code := self._process.poll()) is not None:
                raise StartFailedError(f"{self.name} ended with exit code {code}. {self._said()}")
            if ready():
                return
            if time.monotonic() >= deadline:
                raise StartFailedError(f"{self.name} was not ready within {timeout:g} s. {self._said()}")
            time.sleep(_POLL)

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def _said(self) -> str:
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _SAID_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-_SAID_LINES:]
        return "The end of its log:\n" + "\n".join(lines or ["(nothing)"])


def _die_with(parent: int) -> None:
    """In the child, before it becomes the program."""
    syscalls.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)

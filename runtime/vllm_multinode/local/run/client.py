"""The other side of the control socket: asks a run, and watches it."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.world.protocol import Reply, Request, RunStatus

_CONNECT_TIMEOUT: Final = 5.0
_POLL: Final = 0.05
_ANSWER_TIMEOUT: Final = 120.0
"""Seconds: a pod's grace period of 60, and what its end and a new start take besides."""


class RunClient:
    """Speaks to one run; each call has a connection of its own."""

    def __init__(self, control: Path) -> None:
        self._control = control

    def ask(self, request: Request, timeout: float = _ANSWER_TIMEOUT) -> Reply:
        """Send one request.

        Raises:
            MultinodeError: what the run answered, or that it answered nothing within `timeout` seconds.
        """
        with self._connected() as connection:
            connection.settimeout(timeout)
            try:
                connection.sendall(request.model_dump_json().encode() + b"\n")
                with connection.makefile("rb") as lines:
                    line = lines.readline()
            except OSError as error:
                raise self._silent(f"no answer within {timeout:g} s") from error
        return self._read(line)

    def status(self) -> RunStatus:
        """How every node is now."""
        status = self.ask(Request(command="status"), _CONNECT_TIMEOUT).status
        if status is None:
            raise self._silent("an answer without a status")
        return status

    def watch(self, timeout: float) -> Iterator[RunStatus]:
        """The status now, and again each time it changes, for `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._connected() as connection:
            connection.sendall(Request(command="watch").model_dump_json().encode() + b"\n")
            left = b""
            while (seconds := deadline - time.monotonic()) > 0:
                connection.settimeout(seconds)
                try:
                    chunk = connection.recv(1 << 16)
                except TimeoutError:
                    return
                if not chunk:
                    raise self._silent("the run has ended")
                *lines, left = (left + chunk).split(b"\n")
                for line in lines:
                    if status := self._read(line).status:
                        yield status

    def wait_for(self, state: str, timeout: float) -> RunStatus:
        """Return when the head says that it is in `state`.

        Raises:
            MultinodeError: it is not within `timeout` seconds, or the run ends.
        """
        last = ""
        for status in self.watch(timeout):
            if status.head is not None and status.head.state == state:
                return status
            last = status.head.shown if status.head else "no head"
        raise MultinodeError(
            ExitCode.LOCAL_RUN, f"not {state} within {timeout:g} s; the head is: {last}.", where=self._name
        )

    @property
    def _name(self) -> str:
        return self._control.parent.name

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_CONNECT_TIMEOUT)
            deadline = time.monotonic() + _CONNECT_TIMEOUT
            while True:
                try:
                    connection.connect(str(self._control))
                    break
                except OSError as error:
                    # A run that is just being started has a directory, but nobody listens yet.
                    if not self._control.parent.exists() or time.monotonic() >= deadline:
                        raise self._silent("its control socket does not answer") from error
                    time.sleep(_POLL)
            yield connection

    def _read(self, line: bytes) -> Reply:
        if not line:
            raise self._silent("the run has ended")
        reply = Reply.model_validate_json(line)
        if reply.refusal is not None:
            raise reply.refusal.error()
        return reply

    def _silent(self, what: str) -> MultinodeError:
        return MultinodeError(ExitCode.LOCAL_RUN, f"{what}.", where=self._name)

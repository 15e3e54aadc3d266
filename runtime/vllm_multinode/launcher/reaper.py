"""Collects the supervisor's children."""

import asyncio
import os
import signal


class Reaper:
    """Collects every child that ends, adopted ones too, and keeps the status of ours."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[int]] = {}

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen to SIGCHLD."""
        loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def expect(self, pid: int) -> asyncio.Future[int]:
        """A future of that child's exit status; negative numbers are signals.

        Call it in the same turn of the loop as the fork: `reap` runs between turns only.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[pid] = future
        return future

    def reap(self) -> None:
        """Collect all that have ended."""
        while True:
            try:
                pid, raw = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            future = self._waiting.pop(pid, None)
            if future is not None and not future.done():
                future.set_result(os.waitstatus_to_exitcode(raw))

"""What `multinode local run` does while its run lives: show it, and end it when asked."""

import asyncio
import os
import signal
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run.display import Display
from vllm_multinode.local.run.localrun import LocalRun
from vllm_multinode.local.world.protocol import LINE_LIMIT, NodeStatus, Reply, Request, RunStatus

_TICK: Final = 1.0
_REFUSED: Final = range(ExitCode.VARIABLE, ExitCode.NAMESPACES)
_NOT_STARTED: Final = (126, 127)


class Foreground:
    """Follows one run."""

    def __init__(self, run: LocalRun, display: Display, served: str, *, fail_fast: bool = True) -> None:
        """`served` is said when it serves for the first time.

        With `fail_fast`, a node that rejects its settings before the first serving ends the run; a
        kubelet would go on restarting it.
        """
        self._run = run
        self._display = display
        self._served = served
        self._fail_fast = fail_fast
        self._has_served = False
        self._asked = 0
        self._end = asyncio.Event()
        self._refused: MultinodeError | None = None

    async def stay(self) -> None:
        """Return when the run has ended as it was asked to, its processes and directory gone.

        Raises:
            MultinodeError: a node refused its settings, or the world ended by itself.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._ask_to_end)
        world = os.pidfd_open(self._run.process.pid)
        loop.add_reader(world, self._end.set)
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._tick())]
        try:
            await self._end.wait()
            await self._close()
        finally:
            loop.remove_reader(world)
            os.close(world)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._refused is not None:
            raise self._refused

    def _ask_to_end(self) -> None:
        self._asked += 1
        if self._asked > 1:
            self._run.process.kill()
        self._end.set()

    async def _close(self) -> None:
        """End the run in a thread, so that a second Ctrl-C is heard and the display goes on."""
        if self._asked:
            self._display.say("Stopping; press Ctrl-C again to stop at once.")
        status = self._run.process.poll()
        if status not in (None, 0) and not self._asked:
            self._refused = self._refused or MultinodeError(
                ExitCode.LOCAL_RUN,
                f"the local nodes' process ended unexpectedly (exit code {status}).",
                where=self._run.directory.name,
            )
        await asyncio.to_thread(self._run.end)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._display.tick()

    async def _follow(self) -> None:
        control = str(self._run.directory.control)
        reader, writer = await asyncio.open_unix_connection(control, limit=LINE_LIMIT)
        try:
            writer.write(Request(command="watch").model_dump_json().encode() + b"\n")
            while line := await reader.readline():
                if status := Reply.model_validate_json(line).status:
                    self._see(status)
        except ConnectionError:
            return
        finally:
            writer.close()

    def _see(self, status: RunStatus) -> None:
        self._display.show(status)
        if status.serving and not self._has_served:
            self._has_served = True
            self._display.say(self._served)
        if self._fail_fast and not self._has_served and self._refused is None:
            self._refused = next(filter(None, map(refusal, status.nodes)), None)
            if self._refused is not None:
                self._end.set()


def refusal(node: NodeStatus) -> MultinodeError | None:
    """What a node said when it last ended over its settings, as an error with its own exit code."""
    where = f"{node.node} ({node.pod})"
    what = node.termination.removeprefix("multinode: ") or f"ended with exit code {node.exit_code}."
    if node.exit_code in _NOT_STARTED:
        return MultinodeError(ExitCode.LOCAL_RUN, what, where=where)
    if node.exit_code in _REFUSED and node.exit_code in set(ExitCode):
        return MultinodeError(ExitCode(node.exit_code), what, where=where)
    return None

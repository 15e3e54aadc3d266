"""The thin layer that runs what `launcher.commands` describes, and leaves nothing behind.

The supervisor adopts every orphan of its engine (`PR_SET_CHILD_SUBREAPER`; as a container's PID 1 it does so
anyway), so that whatever the engine detaches, Ray's daemons above all, is found and ended with it.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Final

from vllm_multinode.launcher import stacks
from vllm_multinode.launcher.deaths import Deaths
from vllm_multinode.launcher.masking import masked, secrets_in
from vllm_multinode.launcher.output import copy_output, last_error, last_words
from vllm_multinode.launcher.plan import Listener, Process
from vllm_multinode.launcher.proc import engine_tree, keep_descriptors
from vllm_multinode.launcher.programs import find_program, program_path
from vllm_multinode.launcher.reaper import Reaper
from vllm_multinode.launcher.scheduling import give_way
from vllm_multinode.launcher.warm import VLLM, Warm

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_POLL: Final = 0.05
# What argparse and click end with where they do not know an argument.
_REFUSED: Final = 2
_TAIL_LINES: Final = 200
# What an ended process wrote is read within it; a child of its that lives on may hold the pipe open.
_LAST_OUTPUT: Final = 0.3
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    keep_descriptors()
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        log.warning("cannot adopt orphans: %s", os.strerror(ctypes.get_errno()))


def die_with_parent() -> None:
    """For a new child, before it becomes a program: the kernel ends it when the supervisor has ended."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@dataclass
class Running:
    """A process of the engine that was started."""

    name: str
    pid: int
    status: asyncio.Future[int]
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL_LINES))
    pump: threading.Thread | None = None

    async def verdict(self) -> str:
        """Why it ended, in a line; waits a moment for its last output."""
        if self.pump is not None:
            await asyncio.to_thread(self.pump.join, _LAST_OUTPUT)
        said = last_error(list(self.tail))
        ended = describe_status(self.status.result())
        return f"{self.name} {ended}" + (f": {said}" if said else "")


def describe_status(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"


def process_environment(
    process: Process, environment: Mapping[str, str], unset: frozenset[str]
) -> dict[str, str]:
    """The environment of one process of the engine.

    Args:
        process: with what it needs, and what it takes where the pod says nothing.
        environment: the supervisor's own.
        unset: variables that the engine must not see.
    """
    own = {name: value for name, value in environment.items() if name not in unset}
    merged = stacks.ENVIRONMENT | process.defaults | own | process.environment
    return merged | {"PATH": program_path(merged)}


class Engine:
    """The engine's processes on this node, in one epoch.

    Args:
        processes: in the order of their start.
        environment: the supervisor's own, already completed; each process's own is added.
        unset: variables that the engine must not see.
        reaper: collects the children.
        warm: what `vllm` is forked from; None starts it as any program.
    """

    def __init__(
        self,
        processes: tuple[Process, ...],
        environment: Mapping[str, str],
        unset: frozenset[str],
        reaper: Reaper,
        warm: Warm | None = None,
    ) -> None:
        self._processes = processes
        self._environment = environment
        self._unset = unset
        self._reaper = reaper
        self._warm = warm
        self._deaths = Deaths()
        self._starter: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.running: list[Running] = []
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.refused = False
        """Its own parser has refused its arguments: another start would end the same."""

    def start(self) -> None:
        """Start the processes one after the other; returns at once, `ended` tells of the first end."""
        self._starter = asyncio.create_task(self._start())
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Say that the engine has ended as soon as one of its inner processes has."""
        death = await self._deaths.first()
        # What others say from now on is about their loss, and not its cause.
        before = self._lines()
        # Its parent's own words, where it ends at once, are better.
        await asyncio.sleep(_LAST_OUTPUT)
        if any(one.status.done() and one.status.result() < 0 for one in self.running):
            # Killed itself, and its children went with it: that is the cause.
            await asyncio.wait((self.ended,), timeout=2 * _LAST_OUTPUT)
        said = last_words(death.pid, before, self._lines())
        memory = self._deaths.for_memory()
        why = f", {memory}" if memory else f": {said}" if said else ""
        self._say_ended(f"{death}{why}")

    def _lines(self) -> list[str]:
        return [line for running in self.running for line in running.tail]

    async def _start(self) -> None:
        for process in self._processes:
            await _accepting(process.after)
            try:
                running = await self._spawn(process)
            except OSError as error:
                self._say_ended(f"{process.argv[0]} cannot be started: {error.strerror}")
                return
            self.running.append(running)
            running.status.add_done_callback(partial(self._on_end, running))

    async def _spawn(self, process: Process) -> Running:
        environment = process_environment(process, self._environment, self._unset)
        program = find_program(process.argv[0], environment["PATH"])
        running = await self._fork(process, program, environment)
        return running or self._execute(process, program, environment)

    async def _fork(
        self, process: Process, program: str | None, environment: Mapping[str, str]
    ) -> Running | None:
        """From the warm process, where there is one for this program."""
        if self._warm is None or program is None or process.name != "vllm":
            return None
        ours, theirs = os.pipe()
        output = os.fdopen(ours, "rb")
        try:
            argv = (program, *process.argv[1:])
            forked = await self._warm.fork(argv, environment, VLLM, theirs, theirs)
        except BaseException:
            output.close()
            raise
        finally:
            os.close(theirs)
        if forked is None:
            output.close()
            return None
        log.info("starting %s from the warm process: %s", process.name, masked(process.argv))
        give_way(forked.pid)
        running = Running(process.name, forked.pid, self._reaper.expect(forked.pid))
        forked.release()
        return _pumped(running, output, process)

    def _execute(self, process: Process, program: str | None, environment: Mapping[str, str]) -> Running:
        log.info("starting %s: %s", process.name, masked(process.argv))
        popen = subprocess.Popen(
            process.argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A session is a scheduling group of its own where the kernel makes such (autogroup): what the
            # engine burns is then not held against the supervisor, which has to answer probes.
            start_new_session=True,
            preexec_fn=die_with_parent,  # one prctl: no lock is taken after the fork
            executable=program,
        )
        give_way(popen.pid)
        running = Running(process.name, popen.pid, self._reaper.expect(popen.pid))
        # Popen must not wait for a child that the reaper has collected.
        running.status.add_done_callback(lambda status: setattr(popen, "returncode", status.result()))
        assert popen.stdout is not None  # noqa: S101 - Popen was given a pipe
        return _pumped(running, popen.stdout, process)

    def _on_end(self, running: Running, _: "asyncio.Future[int]") -> None:
        if not self.ended.done():
            self._verdict = asyncio.create_task(self._conclude(running))

    async def _conclude(self, running: Running) -> None:
        verdict, status = await running.verdict(), running.status.result()
        self.refused = status == _REFUSED
        if status == -signal.SIGKILL and (memory := self._deaths.for_memory()):
            verdict = f"{running.name} was {memory}"
        self._say_ended(verdict)

    def _say_ended(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    async def kill(self, timeout: float = 10) -> None:
        """End every process of the engine below this supervisor, and wait until none is left.

        Raises:
            TimeoutError: something survived SIGKILL, as a process inside a driver may.
        """
        for task in (self._starter, self._watcher):
            if task is not None:
                task.cancel()
        async with asyncio.timeout(timeout):
            while left := engine_tree():
                for pid in left:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(_POLL)
                self._reaper.reap()


async def _accepting(listeners: tuple[Listener, ...]) -> None:
    """Wait until each port accepts; whoever started us bounds the wait."""
    for listener in listeners:
        while not await accepts(listener):
            await asyncio.sleep(_POLL)


async def accepts(listener: Listener, timeout: float = 1) -> bool:
    """Does somebody listen there?"""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(listener.host, listener.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _pumped(running: Running, output: IO[bytes], process: Process) -> Running:
    """Begin to copy its output."""
    arguments = (output, running.tail, secrets_in(process.argv))
    running.pump = threading.Thread(target=copy_output, args=arguments, daemon=True)
    running.pump.start()
    return running

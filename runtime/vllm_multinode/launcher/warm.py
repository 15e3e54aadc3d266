"""A process on each node that has imported vLLM and holds no accelerator: engines are forked from it.

A start of vLLM imports the same modules in every one of its processes, one after the other. Forked from a
process that has them, the next epoch's engine has its imports at once. The new process becomes the
supervisor's own child, so that the engine does not depend on the warm process any more.
"""

import array
import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any, Final

from vllm_multinode.launcher.plan import AcceleratorKind
from vllm_multinode.launcher.proc import set_apart
from vllm_multinode.launcher.reaper import Reaper

log = logging.getLogger(__name__)

READY_TIMEOUT: Final = 180.0
"""Seconds that a start waits for the imports; alone it would need as long for its own."""
_FORK_TIMEOUT: Final = 10.0
_SOURCE: Final = "warm_process.py"
_LENGTH: Final = struct.Struct("!I")
_BASE: Final = ("vllm.entrypoints.cli.main", "vllm.entrypoints.cli.serve")
_FURTHER: Final = (
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
)
_WORKERS: Final[Mapping[AcceleratorKind, str]] = {
    "cuda": "vllm.v1.worker.gpu_worker",
    "rocm": "vllm.v1.worker.gpu_worker",
    "cpu": "vllm.v1.worker.cpu_worker",
}
_TRIES: Final = 3
# Read when a request is made or a server starts, not by an import.
_READ_LATE: Final = frozenset({"NO_PROXY", "no_proxy", "MULTINODE_DOOR"})

VLLM: Final = "import sys\nfrom vllm.entrypoints.cli.main import main\nsys.exit(main())\n"
"""What the `vllm` program does."""


def refusal(accelerator: AcceleratorKind) -> str:
    """Why no engine is forked on this kind of accelerator; nothing where it may be."""
    if accelerator in _WORKERS:
        return ""
    return f"vLLM starts its processes on {accelerator} by spawn alone"


@dataclass(frozen=True)
class Forked:
    """A new process that waits to be let go; its parent is this process.

    Attributes:
        pid: its number.
        go: a pipe; `release` writes to it.
    """

    pid: int
    go: int

    def release(self) -> None:
        """Let it begin; call `Reaper.expect` first."""
        os.write(self.go, b"1")
        os.close(self.go)


class Warm:
    """The warm process of one node.

    Args:
        accelerator: of the node.
        environment: that the engine will be started with.
        reaper: expects the process.
        before: called in the new process before it becomes a program.
        executor: vLLM's module of it, where others than this node's engine start the workers.
    """

    def __init__(
        self,
        accelerator: AcceleratorKind,
        environment: Mapping[str, str],
        reaper: Reaper,
        before: Callable[[], None] | None = None,
        executor: str = "",
    ) -> None:
        self._environment = dict(environment)
        self._reaper = reaper
        self._before = before
        self._restarts = 0
        self._modules = [*_BASE, *_FURTHER, executor or _WORKERS[accelerator]]
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._lock = asyncio.Lock()
        self._ready: asyncio.Task[bool] | None = None
        self.off = ""
        """Why there is none, or nothing."""

    @property
    def ready(self) -> bool:
        """It has imported everything and can be forked."""
        return self._ready is not None and self._ready.done() and not self._ready.cancelled() and not self.off

    def start(self) -> None:
        """Begin to import; returns at once."""
        self._ready = asyncio.create_task(self._import())

    async def _import(self) -> bool:
        for _ in range(_TRIES):
            try:
                self._spawn()
                said = await self._receive()
            except (OSError, EOFError, ValueError) as error:
                self._turn_off(f"the process that imports vLLM ended ({error})")
                return False
            if said.get("ready"):
                log.info("vLLM is imported: engines are forked from process %d", self.pid)
                return True
            module, why = said["module"], said["unfit"]
            self.close()
            if module in _BASE:
                self._turn_off(f"{module} cannot be imported before a fork: {why}")
                return False
            log.info("%s is left out of the warm process: with it, %s", module, why)
            self._modules.remove(module)
        self._turn_off("several modules of vLLM cannot be imported before a fork")
        return False

    @property
    def pid(self) -> int:
        """Of the process, 0 without one."""
        return self._process.pid if self._process is not None else 0

    def _spawn(self) -> None:
        source = resources.files(__package__).joinpath(_SOURCE).read_text(encoding="utf-8")
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", source, str(theirs.fileno()), *self._modules],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                preexec_fn=self._before,
            )
        ours.setblocking(False)
        self._channel = ours
        set_apart(self.pid)
        self._reaper.expect(self.pid).add_done_callback(partial(self._on_end, self._process))

    def _on_end(self, process: "subprocess.Popen[bytes]", status: "asyncio.Future[int]") -> None:
        # Popen must not wait for a child that the reaper has collected.
        process.returncode = status.result()
        # Where somebody waits for its answer, he notices, too.
        if process is not self._process or not self.ready or self._lock.locked():
            return
        self.close()
        self._restarts += 1
        if self._restarts > _TRIES:
            self._turn_off("the process that has imported vLLM keeps ending")
        else:
            log.warning("the warm process has ended (status %d); vLLM is imported again", status.result())
            self.start()

    async def fork(
        self, argv: Sequence[str], environment: Mapping[str, str], code: str, output: int, errors: int
    ) -> Forked | None:
        """Fork a process that runs `code`, or return None where it has to be started by an exec.

        Args:
            argv: as the code finds it in `sys.argv`, and the process's title.
            environment: the whole of it.
            code: Python source.
            output: descriptor of its standard output.
            errors: descriptor of its standard error.
        """
        if not await self._usable(environment):
            return None
        request = {
            "argv": list(argv),
            "environment": dict(environment),
            "code": code,
            # Without the arguments: there may be secrets among them.
            "title": " ".join(argv[:2]),
            "parent": os.getpid(),
        }
        exchange = asyncio.create_task(self._exchange(request, [os.dup(output), os.dup(errors)]))
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            # The answer is still read, so that the next request does not get it.
            exchange.add_done_callback(_drop)
            raise

    async def _exchange(self, request: Mapping[str, Any], outputs: list[int]) -> Forked | None:
        waiting, go = os.pipe()
        given = [*outputs, waiting]
        try:
            async with self._lock, asyncio.timeout(_FORK_TIMEOUT):
                await self._send(request, given)
                said = await self._receive()
            if "pid" in said:
                return Forked(said["pid"], go)
            self._turn_off(f"the warm process cannot be forked ({said.get('error')})")
        except (OSError, EOFError, ValueError) as error:
            self._turn_off(f"the warm process does not answer ({error or type(error).__name__})")
        finally:
            for descriptor in given:
                os.close(descriptor)
        os.close(go)
        return None

    async def _usable(self, environment: Mapping[str, str]) -> bool:
        if self._ready is None or self.off:
            return False
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                await asyncio.wait((self._ready,))
        except TimeoutError:
            self._turn_off(f"vLLM was not imported within {READY_TIMEOUT:.0f} s")
            return False
        if not self.ready:
            return False
        names = self._environment.keys() | environment.keys()
        other = {name for name in names if self._environment.get(name) != environment.get(name)}
        if other := other - _READ_LATE:
            log.info("not forked from the warm process: %s differ there", ", ".join(sorted(other)))
            return False
        return True

    def _turn_off(self, why: str) -> None:
        self.off = why
        log.warning("warm restarts are off: %s", why)
        self.close()

    async def _send(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        text = json.dumps(message).encode()
        loop = asyncio.get_running_loop()
        channel = self._open_channel()
        # The first bytes of a request, into an empty buffer: they never wait.
        fds = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        channel.sendmsg([_LENGTH.pack(len(text))], fds)
        await loop.sock_sendall(channel, text)

    async def _receive(self) -> dict[str, Any]:
        (length,) = _LENGTH.unpack(await self._exactly(_LENGTH.size))
        found: dict[str, Any] = json.loads(await self._exactly(length))
        return found

    async def _exactly(self, count: int) -> bytes:
        loop, data = asyncio.get_running_loop(), b""
        while len(data) < count:
            more = await loop.sock_recv(self._open_channel(), count - len(data))
            if not more:
                raise EOFError("it is gone")
            data += more
        return data

    def _open_channel(self) -> socket.socket:
        if self._channel is None:
            raise EOFError("it is gone")
        return self._channel

    def close(self) -> None:
        """End the process; engines forked from it live on."""
        if self._ready is not None and self._ready is not asyncio.current_task():
            self._ready.cancel()
        process, self._process = self._process, None
        if process is not None:
            set_apart(process.pid, apart=False)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _drop(exchange: "asyncio.Task[Forked | None]") -> None:
    """Without its byte the new process ends by itself."""
    if (
        not exchange.cancelled()
        and exchange.exception() is None
        and (forked := exchange.result()) is not None
    ):
        os.close(forked.go)

"""One container: a process tree in namespaces of its own, below the world's first process."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from vllm_multinode.local.world import rootfs, syscalls
from vllm_multinode.local.world.rootfs import View
from vllm_multinode.local.world.syscalls import Namespace

_NOT_STARTED: Final = 126
_PASSES: Final = 100


@dataclass(frozen=True)
class ContainerSpec:
    """All that the first process needs to become the container.

    Args:
        hostname: its host name.
        argv: the program, by absolute path, and its arguments.
        environment: every variable.
        view: its file system.
        network: an open network namespace.
        log: a descriptor that gets its output.
        cpus: the cores that it may use; all where empty.
    """

    hostname: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    view: View
    network: int
    log: int
    cpus: tuple[int, ...] = ()


class Container:
    """A started container. Only the world's first process may make one: it reaps it too."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.frozen = False
        self.started = time.monotonic()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @classmethod
    def start(cls, spec: ContainerSpec, process_namespace: int) -> "Container":
        """Fork the container's first process.

        Args:
            spec: what it becomes.
            process_namespace: this process's own PID namespace, to come back to.
        """
        syscalls.unshare(Namespace.PID)
        try:
            pid = os.fork()
            if pid == 0:
                _become(spec)
        finally:
            syscalls.enter(process_namespace, Namespace.PID)
        return cls(pid)

    def reaped(self, status: int) -> None:
        """Take the wait status that the world's first process got for it."""
        code = os.waitstatus_to_exitcode(status)
        if not self.ended.done():
            self.ended.set_result(code if code >= 0 else 128 - code)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the first process. SIGKILL takes the whole tree with it."""
        if not self.ended.done():
            os.kill(self.pid, number)

    def hears(self, number: signal.Signals) -> bool:
        """Whether the first process has a handler for a signal: the kernel drops it otherwise."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False
        caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
        return bool(int(caught, 16) >> (number - 1) & 1)

    def freeze(self) -> None:
        """Stop every process of the tree, those that are born meanwhile too."""
        self.frozen = True
        self._each(signal.SIGSTOP, "Tt")

    def thaw(self) -> None:
        """Let every process of the tree go on."""
        self._each(signal.SIGCONT, "")
        self.frozen = False

    def processes(self) -> list[int]:
        """The process ids of the tree, as the world's first process sees them."""
        namespace = _process_namespace(self.pid)
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [pid for pid in pids if namespace and _process_namespace(pid) == namespace]

    def _each(self, number: signal.Signals, already: str) -> None:
        """Signal all whose state is not one of `already`, until a look finds no such process any more."""
        seen: set[int] = set()
        for _ in range(_PASSES):
            left = [pid for pid in self.processes() if _state(pid) not in already + "ZX"]
            if not already:
                left = [pid for pid in left if pid not in seen]
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            seen.update(left)


def _process_namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _state(pid: int) -> str:
    try:
        # The command's name is in brackets and may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _become(spec: ContainerSpec) -> NoReturn:
    """Turn this process, the first of its PID namespace, into the container; never returns."""
    try:
        os.setsid()
        os.dup2(spec.log, 1)
        os.dup2(spec.log, 2)
        _forget_signals()
        syscalls.unshare(Namespace.MOUNT | Namespace.UTS | Namespace.IPC)
        syscalls.enter(spec.network, Namespace.NET)
        socket.sethostname(spec.hostname)
        rootfs.build(spec.view)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        if spec.cpus:
            os.sched_setaffinity(0, spec.cpus)
        os.umask(0o022)
        os.chdir("/tmp")  # noqa: S108 - the container's own
        os.execve(spec.argv[0], spec.argv, spec.environment)  # noqa: S606
    except OSError as error:
        os.write(2, f"the container could not start: {error}\n".encode())
    finally:
        # Never back into the event loop of the process that this is a copy of.
        os._exit(_NOT_STARTED)


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

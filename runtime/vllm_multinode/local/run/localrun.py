"""A run, from the side that starts it: the directory, the world's process, and its end."""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import vllm_multinode
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run.client import RunClient
from vllm_multinode.local.rundir import HeldRun, RunDirectory
from vllm_multinode.local.world.pod_spec import PodSpec
from vllm_multinode.local.world.protocol import Families, Forward, Reply, Request, WorldConfig

_OPEN_TIMEOUT: Final = 30.0
_END_MARGIN: Final = 15.0
_KILL_TIMEOUT: Final = 10.0


@dataclass(frozen=True)
class Entrance:
    """A listening socket on this machine, and the node and port that it leads to."""

    socket: socket.socket
    node: str
    port: int


def url(listener: socket.socket, scheme: Literal["http", "https"] = "http") -> str:
    """Where it is reached; only while it is open here."""
    return f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"


class LocalRun:
    """A living run. `with` ends it; whatever happens to this process, the kernel ends it too."""

    def __init__(self, held: HeldRun, process: "subprocess.Popen[bytes]", report: int, grace: float) -> None:
        self._held = held
        self._report = report
        self._grace = grace
        self._ended = False
        self.process = process
        self.client = RunClient(held.directory.control)

    @classmethod
    def start(
        cls,
        held: HeldRun,
        pods: Sequence[PodSpec],
        entrances: Sequence[Entrance] = (),
        logs: Path | None = None,
        *,
        families: Families = "ipv4",
    ) -> Self:
        """Make the world and its pods, and return when they are started.

        Must be called in the main thread: the world ends with the thread that started it.

        Args:
            held: its directory; removed when the run ends, and when this fails.
            pods: what runs from the beginning; more can be added through `client`.
            entrances: ways in from this machine.
            logs: a directory for the pods' logs that outlives the run; the run's own where None.
            families: of the pods' addresses.

        Raises:
            MultinodeError: this machine allows no namespaces, or the world did not come up.
        """
        try:
            process, report = _start_world(
                held, pods, entrances, logs or held.directory.logs, families=families
            )
        except BaseException:
            held.remove()
            raise
        return cls(held, process, report, max((pod.grace for pod in pods), default=0.0))

    @property
    def directory(self) -> RunDirectory:
        """Its files."""
        return self._held.directory

    def end(self) -> None:
        """Stop every pod within its grace, then everything else, and remove the directory; once."""
        if self._ended:
            return
        if self.process.poll() is None:
            try:
                self.client.ask(Request(command="end"))
                self.process.wait(self._grace + _END_MARGIN)
            except (MultinodeError, subprocess.TimeoutExpired):
                self.process.kill()
        self._remove()

    def kill(self) -> None:
        """End everything at once, and remove the directory."""
        self.process.kill()
        self._remove()

    def _remove(self) -> None:
        self._ended = True
        self.process.wait(_KILL_TIMEOUT)
        # The world's first process holds the other end, and ends after all others of the world.
        select.select([self._report], [], [], _KILL_TIMEOUT)
        os.close(self._report)
        self._held.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def listen(port: int | None, *, default: int = 0) -> socket.socket:
    """A socket on 127.0.0.1.

    Args:
        port: the one that must be taken; 0 for any free one.
        default: tried first where `port` is None; a free one where it is taken.

    Raises:
        MultinodeError: the port is taken.
    """
    for candidate in (default, 0) if port is None else (port,):
        listener = socket.socket()
        try:
            # Connections of an earlier run may linger; a port with another listener is still taken.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", candidate))
            listener.listen(1024)
        except OSError as error:
            listener.close()
            reason = error.strerror
        else:
            return listener
    raise MultinodeError(
        ExitCode.PORT_TAKEN,
        f"cannot listen on 127.0.0.1:{port} ({reason}).",
        where="--port",
        hint="Choose another port, or 0 for any free one.",
    )


def visible_everywhere(pods: Sequence[PodSpec]) -> tuple[str, ...]:
    """What the pods' programs and a node's Python need, wherever on this machine that is."""
    package = Path(vllm_multinode.__file__).parent.parent
    programs = (str(folder) for pod in pods for folder in _environment_of(Path(pod.argv[0])))
    paths = (sys.prefix, sys.base_prefix, str(package), *sys.path, *programs)
    return tuple(dict.fromkeys(path for path in paths if path and Path(path).exists()))


def _environment_of(program: Path) -> tuple[Path, ...]:
    """The folder of a program, and the virtual environment that it belongs to."""
    environment = program.parent.parent
    return (program.parent, environment) if (environment / "pyvenv.cfg").is_file() else (program.parent,)


def _start_world(
    held: HeldRun, pods: Sequence[PodSpec], entrances: Sequence[Entrance], logs: Path, *, families: Families
) -> tuple["subprocess.Popen[bytes]", int]:
    """The process, and the end of a pipe that it reports on and holds open until its world is gone."""
    ours, theirs = os.pipe()
    with socket.socket(socket.AF_UNIX) as control:
        try:
            control.bind(str(held.directory.control))
            # Who asks early waits until the world answers.
            control.listen()
            config = WorldConfig(
                run=held.directory.name,
                directory=str(held.directory.path),
                logs=str(logs),
                runner=os.getpid(),
                control=control.fileno(),
                report=theirs,
                lock=held.lock,
                forwards=tuple(
                    Forward(descriptor=way.socket.fileno(), node=way.node, port=way.port) for way in entrances
                ),
                keep=visible_everywhere(pods),
                pods=tuple(pods),
                families=families,
            )
            process = _spawn(config, held.directory)
        finally:
            os.close(theirs)
            for way in entrances:
                way.socket.close()
    try:
        _await_report(process, ours, held.directory)
    except BaseException:
        process.kill()
        process.wait(_KILL_TIMEOUT)
        os.close(ours)
        raise
    return process, ours


def _spawn(config: WorldConfig, directory: RunDirectory) -> "subprocess.Popen[bytes]":
    passed = (config.control, config.report, config.lock, *(way.descriptor for way in config.forwards))
    with directory.world_log.open("ab") as log:
        process = subprocess.Popen(
            # The directory's name is there for those who look at the process list.
            [sys.executable, "-m", "vllm_multinode.local.world.enter", str(directory.path)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=passed,
            # The terminal's Ctrl-C is for the runner alone.
            start_new_session=True,
        )
    if process.stdin is not None:
        process.stdin.write(config.model_dump_json().encode())
        process.stdin.close()
    return process


def _await_report(process: "subprocess.Popen[bytes]", report: int, directory: RunDirectory) -> None:
    deadline = time.monotonic() + _OPEN_TIMEOUT
    answer = b""
    while not answer.endswith(b"\n"):
        readable, _, _ = select.select([report], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(report, 1 << 16) if readable else b""
        if not chunk:
            break
        answer += chunk
    if answer.endswith(b"\n"):
        refusal = Reply.model_validate_json(answer).refusal
        if refusal is None:
            return
        raise refusal.error()
    said = directory.world_log.read_text(errors="replace").strip().rpartition("\n")[2]
    raise MultinodeError(ExitCode.LOCAL_RUN, f"the local nodes did not start: {said}")

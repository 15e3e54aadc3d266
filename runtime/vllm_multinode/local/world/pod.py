"""A pod on a local node: what the kubelet does for it."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_multinode.local.world import probe, syscalls
from vllm_multinode.local.world.container import Container, ContainerSpec
from vllm_multinode.local.world.network import PodNetwork
from vllm_multinode.local.world.pod_spec import PodSpec
from vllm_multinode.local.world.probe import SupervisorStatus
from vllm_multinode.local.world.protocol import NodeStatus, Process
from vllm_multinode.local.world.rootfs import View, Volume
from vllm_multinode.local.world.syscalls import Mount

log = logging.getLogger(__name__)

_DELAYS: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Seconds before each restart; the last one for all that follow."""
_STABLE_AFTER: Final = 60.0
"""Seconds up after which the delays start over."""
_KILL_TIMEOUT: Final = 10.0
_HEARING_POLL: Final = 0.05
_PROBE_TIMEOUT: Final = 1.0
_PROBE_PERIOD: Final = {"serving": 1.0}
_PROBE_PERIOD_UNSETTLED: Final = 0.25
_MESSAGE_LIMIT: Final = 4096
_SIGNALLED: Final = 128


@dataclass(frozen=True)
class PodFiles:
    """Where a pod's files are: volumes below `volumes`, logs below `logs`, and what all pods share."""

    volumes: Path
    logs: Path
    shared: tuple[Volume, ...]
    keep: tuple[Path, ...]


class Pod:
    """Keeps one container going, and knows how it is."""

    def __init__(
        self,
        name: str,
        spec: PodSpec,
        network: PodNetwork,
        files: PodFiles,
        start: Callable[[ContainerSpec], Container],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.spec = spec
        self.network = network
        self._files = files
        self._start = start
        self._changed = changed
        self._container: Container | None = None
        self._process: Process = "starting"
        self._restarts = 0
        self._exit_code: int | None = None
        self._termination = ""
        self._said = SupervisorStatus()
        self._since = time.time()
        self._wanted, self._unwanted = asyncio.Event(), asyncio.Event()
        self._wanted.set()
        self._task: asyncio.Task[None] | None = None

    @property
    def log(self) -> Path:
        """The container's output, over all its restarts."""
        return self._files.logs / f"{self.name}.log"

    @property
    def termination_log(self) -> Path:
        """What is /dev/termination-log in the container."""
        return self._files.logs / f"{self.name}.termination"

    @property
    def address(self) -> str:
        """The pod's IP, the same over all restarts."""
        return str(self.network.addresses[0])

    def status(self) -> NodeStatus:
        """How it is now."""
        return NodeStatus(
            node=self.spec.node,
            pod=self.name,
            role=self.spec.role,
            address=self.address,
            process=self._process,
            cut=self.network.cut,
            restarts=self._restarts,
            exit_code=self._exit_code,
            termination=self._termination,
            state=self._said.state,
            reason=self._said.reason or "",
            rank=self._said.rank,
            epoch=self._said.epoch,
            loading=self._said.loading,
            since=self._since,
        )

    def run(self) -> None:
        """Make the volumes and start."""
        home = self._files.volumes
        for part in ("root", "shm", "tmp"):
            (home / part).mkdir(parents=True)
        (home / "tmp").chmod(0o1777)
        syscalls.mount(
            "tmpfs",
            home / "shm",
            "tmpfs",
            Mount.NO_SUID | Mount.NO_DEV,
            f"mode=1777,size={self.spec.shared_memory}",
        )
        (home / "hostname").write_text(f"{self.name}\n")
        self._task = asyncio.create_task(self._keep_going(), name=self.name)

    async def remove(self) -> None:
        """Stop it for good and remove its volumes; the logs stay."""
        await self.stop()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(OSError):
            syscalls.detach(self._files.volumes / "shm")
        shutil.rmtree(self._files.volumes, ignore_errors=True)

    def want(self, *, running: bool) -> None:
        """Say whether a container is to run; an ended one is started again only where it is."""
        on, off = (self._wanted, self._unwanted) if running else (self._unwanted, self._wanted)
        on.set()
        off.clear()

    async def stop(self, grace: float | None = None) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds (the pod's own where None); it stays down."""
        self.want(running=False)
        container = self._container
        if container is None or container.ended.done():
            return
        self._change("stopping")
        seconds = self.spec.grace if grace is None else grace
        deadline = time.monotonic() + seconds
        # A program that is still loading has no handler yet, and would go on as if nothing had been said.
        while not container.hears(signal.SIGTERM) and time.monotonic() < deadline:
            await asyncio.wait([container.ended], timeout=min(_HEARING_POLL, seconds))
            if container.ended.done():
                return
        container.send(signal.SIGTERM)
        await asyncio.wait([container.ended], timeout=max(0.0, deadline - time.monotonic()))
        if not container.ended.done():
            log.warning("%s did not exit within %g s; killing it", self.name, seconds)
            container.send(signal.SIGKILL)
            await asyncio.wait([container.ended], timeout=_KILL_TIMEOUT)

    def kill(self) -> None:
        """SIGKILL to the first process: every process of the container dies at once."""
        if self._container is not None:
            self._container.send(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP to every process of the container."""
        if self._container is not None and not self._container.ended.done():
            self._container.freeze()
            self._change("frozen")

    def thaw(self) -> None:
        """SIGCONT to every process of the container."""
        if self._container is not None and self._container.frozen:
            self._container.thaw()
            self._change("running")

    async def _keep_going(self) -> None:
        failures = 0
        while True:
            await self._wanted.wait()
            container = self._begin()
            observer = asyncio.create_task(self._observe(container))
            self._exit_code = await container.ended
            observer.cancel()
            self._note_end()
            if self.spec.restart == "never":
                self.want(running=False)
            if self._wanted.is_set():
                failures = 0 if time.monotonic() - container.started >= _STABLE_AFTER else failures
                await self._back_off(_DELAYS[min(failures, len(_DELAYS) - 1)])
                failures += 1
            if self._unwanted.is_set():
                failures = 0
                self._change("dead")

    def _begin(self) -> Container:
        self.termination_log.write_bytes(b"")
        home = self._files.volumes
        volumes = (
            *self._files.shared,
            Volume(home / "hostname", Path("/etc/hostname"), read_only=True),
            Volume(self.termination_log, Path("/dev/termination-log")),
            *(Volume(mount.source, mount.target, mount.read_only) for mount in self.spec.mounts),
        )
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._container = self._start(
                ContainerSpec(
                    hostname=self.name,
                    argv=self.spec.argv,
                    environment=self.spec.environment(self.name, self.address),
                    view=View(home / "root", home / "tmp", home / "shm", volumes, self._files.keep),
                    network=self.network.namespace,
                    log=output,
                    cpus=self.spec.cpus,
                )
            )
        finally:
            os.close(output)
        self._said = SupervisorStatus()
        self._change("running")
        return self._container

    def _note_end(self) -> None:
        self._said = SupervisorStatus()
        self._termination = _last_words(self.termination_log)
        if not self._termination and self._exit_code and self._exit_code < _SIGNALLED:
            # As the kubelet does it with FallbackToLogsOnError; who was killed has not said why.
            self._termination = _last_words(self.log).rpartition("\n")[2]
        log.info("%s (%s) ended with exit code %s", self.spec.node, self.name, self._exit_code)

    async def _back_off(self, delay: float) -> None:
        self._restarts += 1
        self._change("restarting")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._unwanted.wait()

    async def _observe(self, container: Container) -> None:
        while True:
            if not container.frozen:
                said = await probe.ask(self.address, self.spec.status_port, _PROBE_TIMEOUT)
                if container.ended.done():
                    return
                if not container.frozen:
                    self._hear(said or SupervisorStatus(state="no answer" if self._said.state else ""))
            await asyncio.sleep(_PROBE_PERIOD.get(self._said.state, _PROBE_PERIOD_UNSETTLED))

    def _hear(self, said: SupervisorStatus) -> None:
        if said == self._said:
            return
        if said.state != self._said.state:
            self._since = time.time()
        self._said = said
        self._changed()

    def _change(self, process: Process) -> None:
        if process != self._process:
            self._since = time.time()
        self._process = process
        self._changed()


def _last_words(path: Path) -> str:
    """The end of a file, without blanks around it."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _MESSAGE_LIMIT))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""

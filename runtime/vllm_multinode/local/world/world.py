"""The world: one network, its pods, and what can be done to them; lives in its namespaces' first process."""

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.rundir import RunDirectory
from vllm_multinode.local.world import syscalls
from vllm_multinode.local.world.container import Container, ContainerSpec
from vllm_multinode.local.world.network import SUBNETS, Network
from vllm_multinode.local.world.pod import Pod, PodFiles
from vllm_multinode.local.world.pod_spec import PodSpec
from vllm_multinode.local.world.protocol import NodeStatus, Request, RunStatus, WorldConfig
from vllm_multinode.local.world.proxy import Proxy
from vllm_multinode.local.world.rootfs import Volume
from vllm_multinode.local.world.syscalls import Mount

log = logging.getLogger(__name__)

# The letters that Kubernetes makes names of.
_SUFFIX_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH: Final = 5
_NO_RESOLVER: Final = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
_LOOPBACK: Final = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


class World:
    """The pods of one run."""

    def __init__(self, config: WorldConfig) -> None:
        self._config = config
        self._directory = RunDirectory(Path(config.directory))
        self._network = Network(SUBNETS[config.families])
        self._processes = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._pods: dict[str, Pod] = {}
        self._containers: dict[int, Container] = {}
        self._proxies: list[Proxy] = []
        self._changed = asyncio.Event()
        self.ending = asyncio.Event()
        self.grace: float | None = None
        """Seconds between SIGTERM and SIGKILL at the end; each pod's own where None."""

    async def open(self) -> None:
        """Make the network and the files, reap from now on, and start the pods and the way in to them."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        syscalls.mount("tmpfs", self._directory.mounts, "tmpfs", Mount.NO_SUID | Mount.NO_DEV, "mode=700")
        self._write("resolv.conf", _NO_RESOLVER)
        self._write("nsswitch.conf", _files_first(Path("/etc/nsswitch.conf")))
        self._write_hosts()
        await self._network.make_bridge()
        for spec in self._config.pods:
            await self.add(spec)
        for forward in self._config.forwards:
            proxy = Proxy(forward.descriptor, self._target(forward.node, forward.port))
            await proxy.start()
            self._proxies.append(proxy)

    async def close(self) -> None:
        """Stop every pod, each within its grace; until then clients from outside reach them."""
        for pod in self._pods.values():
            pod.thaw()
            await self._network.join(pod.network)
        await asyncio.gather(*(pod.stop(self.grace) for pod in self._pods.values()))
        for proxy in self._proxies:
            proxy.close()

    def status(self) -> RunStatus:
        """How every node is now, the head first."""
        nodes = [pod.status() for pod in self._pods.values()]
        return RunStatus(run=self._config.run, nodes=tuple(sorted(nodes, key=_order)))

    async def change(self) -> None:
        """Return when something about a node has changed."""
        await self._changed.wait()

    async def do(self, request: Request) -> str:
        """Do what is asked to a node, and say what was done.

        Raises:
            MultinodeError: no such node, or it cannot be done now.
        """
        if request.command == "add":
            return await self._do_add(request)
        pod = self._find(request.node)
        actions: dict[str, Callable[[Pod, Request], Awaitable[str]]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "thaw": self._thaw,
            "cut": self._cut,
            "join": self._join,
            "replace": self._replace,
            "stop": self._stop,
            "start": self._start_again,
            "remove": self._remove,
        }
        return await actions[request.command](pod, request)

    async def add(self, spec: PodSpec) -> Pod:
        """Run a pod.

        Raises:
            MultinodeError: a node of that name has a pod, or a volume's source is absent.
        """
        if spec.node in self._pods:
            raise MultinodeError(ExitCode.LOCAL_RUN, "already has a pod.", where=spec.node)
        for mount in spec.mounts:
            if not mount.source.exists():
                raise MultinodeError(ExitCode.LOCAL_RUN, f"{mount.source} is absent.", where=spec.node)
        name = spec.generate_name + "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(_SUFFIX_LENGTH))
        try:
            network = await self._network.add(spec.sysctls)
        except (FileNotFoundError, PermissionError) as error:
            what = f"{error.filename} cannot be set in a network namespace ({error.strerror})."
            raise MultinodeError(ExitCode.LOCAL_RUN, what, where=spec.node) from error
        pod = Pod(name, spec, network, self._files(name), self._start, self._notify)
        self._pods[spec.node] = pod
        self._write_hosts()
        pod.run()
        log.info("%s is %s at %s", spec.node, name, pod.address)
        return pod

    async def _do_add(self, request: Request) -> str:
        if request.spec is None:
            raise MultinodeError(ExitCode.USAGE, "add without a pod.")
        pod = await self.add(request.spec)
        return f"{pod.spec.node} is {pod.name} at {pod.address}"

    async def _kill(self, pod: Pod, request: Request) -> str:
        if request.stay_dead:
            pod.want(running=False)
        pod.kill()
        return f"{pod.spec.node} ({pod.name}) killed"

    async def _freeze(self, pod: Pod, _: Request) -> str:
        pod.freeze()
        return f"{pod.spec.node} ({pod.name}) frozen"

    async def _thaw(self, pod: Pod, _: Request) -> str:
        pod.thaw()
        return f"{pod.spec.node} ({pod.name}) thawed"

    async def _cut(self, pod: Pod, _: Request) -> str:
        await self._network.cut(pod.network)
        self._notify()
        return f"{pod.spec.node} ({pod.name}) cut off"

    async def _join(self, pod: Pod, _: Request) -> str:
        await self._network.join(pod.network)
        self._notify()
        return f"{pod.spec.node} ({pod.name}) joined"

    async def _stop(self, pod: Pod, request: Request) -> str:
        await pod.stop(request.grace)
        return f"{pod.spec.node} ({pod.name}) stopped"

    async def _start_again(self, pod: Pod, _: Request) -> str:
        pod.want(running=True)
        return f"{pod.spec.node} ({pod.name}) started"

    async def _remove(self, pod: Pod, request: Request) -> str:
        await pod.stop(request.grace)
        await pod.remove()
        await self._network.remove(pod.network)
        del self._pods[pod.spec.node]
        self._write_hosts()
        self._notify()
        return f"{pod.spec.node} ({pod.name}) removed"

    async def _replace(self, pod: Pod, request: Request) -> str:
        # The new pod waits for the old one's accelerators, as in a cluster that has no spare ones.
        await self._remove(pod, request)
        new = await self.add(pod.spec)
        return f"{pod.spec.node} was {pod.name} at {pod.address}, is {new.name} at {new.address}"

    def _find(self, name: str) -> Pod:
        """By node, by pod, or by the beginning of either where that is one."""
        exact = [pod for pod in self._pods.values() if name in (pod.spec.node, pod.name)]
        like = [
            pod for pod in self._pods.values() if name and (pod.spec.node + " " + pod.name).startswith(name)
        ]
        found = exact or like
        if len(found) == 1:
            return found[0]
        raise MultinodeError(
            ExitCode.LOCAL_RUN,
            f"'{name}' is not a node.",
            hint=f"Nodes are: {', '.join(sorted(self._pods))}.",
        )

    def _target(self, node: str, port: int) -> Callable[[], tuple[str, int] | None]:
        def found() -> tuple[str, int] | None:
            pod = self._pods.get(node)
            return None if pod is None else (pod.address, port)

        return found

    def _files(self, name: str) -> PodFiles:
        shared = ("hosts", "resolv.conf", "nsswitch.conf")
        return PodFiles(
            volumes=self._directory.mounts / name,
            logs=Path(self._config.logs),
            shared=tuple(
                Volume(self._directory.mounts / file, Path("/etc", file), read_only=True) for file in shared
            ),
            keep=tuple(Path(path) for path in self._config.keep),
        )

    def _start(self, spec: ContainerSpec) -> Container:
        container = Container.start(spec, self._processes)
        self._containers[container.pid] = container
        return container

    def _reap(self) -> None:
        """Take the status of every ended child; orphans come here too, for this is process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if container := self._containers.pop(pid, None):
                container.reaped(status)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _write_hosts(self) -> None:
        pods = self._pods.values()
        lines = [f"{pod.address} {pod.name}\n" for pod in pods]
        first = 1 if self._config.families == "crossed" else 0
        lines += [
            f"{address} {' '.join(pod.spec.services)}\n"
            for pod in pods
            if pod.spec.services
            for address in pod.network.addresses[first:]
        ]
        self._write("hosts", _LOOPBACK + "".join(lines))

    def _write(self, name: str, text: str) -> None:
        """In place, for the nodes have this very file bound; never empty, for they may be reading it."""
        descriptor = os.open(self._directory.mounts / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, text.encode(), 0)
            os.ftruncate(descriptor, len(text.encode()))
        finally:
            os.close(descriptor)


def _order(node: NodeStatus) -> tuple[bool, int, str]:
    return node.role != "head", len(node.node), node.node


def _files_first(path: Path) -> str:
    """This machine's nsswitch.conf, with host names from /etc/hosts and no resolver but the pod's."""
    lines: list[str] = []
    with suppress(OSError):
        lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("hosts:")]
    return "\n".join([*lines, "hosts: files dns", ""])

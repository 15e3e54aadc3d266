"""Faults of memory: /dev/shm, the disk behind caches and /tmp, and the kernel's out-of-memory kill."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final

import cgroups
from engine.services import LocalGroup, eventually
from faults.acts import Act, Unavailable, Undo, ends
from vllm_multinode.contract import env
from vllm_multinode.contract.exit_codes import ExitCode

_START: Final = 300.0
_FIRST: Final = "1000"
_ROOM: Final = 128 << 20
# Joins the cgroup, and when told so takes memory until the kernel has killed something, but not this one.
_EATER: Final = """
import os, sys
from pathlib import Path
cgroup = Path(sys.argv[1])
(cgroup / "cgroup.procs").write_text(str(os.getpid()))
print("ready", flush=True)
sys.stdin.readline()
taken = []
while len(taken) < 4096 and "oom_kill 0" in (cgroup / "memory.oom_control").read_text():
    taken.append(bytearray(b"x") * (1 << 20))
"""


def shared_memory_filled(node: str) -> Act:
    """/dev/shm has no room left."""

    def act(group: LocalGroup) -> Undo:
        path = group.shared_memory_folder(node) / "filled-by-somebody"
        with path.open("wb") as file:
            try:
                while file.write(b"\0" * (1 << 20)):
                    file.flush()
            except OSError:
                pass
        return partial(path.unlink, missing_ok=True)

    return act


def disk_full(*nodes: str) -> Act:
    """Neither /tmp nor the caches take one byte more."""

    def act(group: LocalGroup) -> Undo:
        volumes = group.run.directory.mounts
        world = ("nsenter", "-m", "-t", str(group.run.process.pid))
        used = os.statvfs(group.shared_memory_folder(nodes[0]).parents[1])
        size = (used.f_blocks - used.f_bfree) * used.f_frsize
        _run(*world, "mount", "-o", f"remount,size={size}", str(volumes))
        full = [("nsenter", "-m", "-t", str(group.processes(node, "multinode")[0])) for node in nodes]
        for inside in full:
            _run(*inside, "mount", "-t", "tmpfs", "-o", "size=4096", "full", "/cache")
            _run(*inside, "sh", "-c", "head -c 4096 /dev/zero > /cache/full")

        def undo() -> None:
            _run(*world, "mount", "-o", "remount,size=50%", str(volumes))
            for inside in full:
                # A container that has started again since has mounts of its own.
                _run(*inside, "umount", "-l", "/cache", check=False)

        return undo

    return act


def disk_full_and(*nodes: str, then: Act) -> Act:
    """The same, and another fault besides, whose recovery begins with a full disk."""

    def act(group: LocalGroup) -> Undo:
        undo = disk_full(*nodes)(group)
        then(group)
        return undo

    return act


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=not check)


def shared_memory_too_small(node: str) -> Act:
    """A node's /dev/shm shrinks while it is down; it grows again once the node has said so."""

    def act(group: LocalGroup) -> Undo:
        path = group.run.directory.mounts / group.node(node).pod / "shm"
        resize = ("nsenter", "-m", "-t", str(group.run.process.pid), "mount", "-o")
        group.act("kill", node)
        _run(*resize, "remount,size=1m", str(path))

        def undo() -> None:
            try:
                ends(node, group, ExitCode.SHARED_MEMORY, env.SHARED_MEMORY_MIN)
            finally:
                _run(*resize, f"remount,size={group.pods[0].shared_memory}", str(path))

        return undo

    return act


class OutOfMemory:
    """The kernel kills a process of the engine because its node has no memory left.

    The node's processes start in a memory cgroup of their own, as a container's do: version 1 does not charge
    a cgroup for what a process had before it was moved there.

    Args:
        node: that has the cgroup.
        words: in the title of the process that is killed; the first of them that any process has.
    """

    def __init__(self, node: str, *words: str) -> None:
        self._node = node
        self._words = words
        self._cgroup = Path()
        self._eater: subprocess.Popen[str] | None = None

    def prepare(self, group: LocalGroup) -> Undo:
        """Start the node in its cgroup, and a process beside it that is to take what is left."""
        try:
            self._cgroup = cgroups.make("memory", "faults-")
        except cgroups.NoCgroupError as error:
            raise Unavailable(str(error)) from error
        try:
            self._start(group)
        except BaseException:
            cgroups.remove(self._cgroup)
            raise
        return self._release

    def _start(self, group: LocalGroup) -> None:
        group.act("kill", self._node, stay_dead=True)
        epoch = group.status()["epoch"]
        # A container is born where the world's first process is.
        world = _children(group.run.process.pid)
        cgroups.move(world, self._cgroup)
        try:
            group.act("start", self._node)
            eventually(lambda: group.processes(self._node, ""))
        finally:
            cgroups.move(world, self._cgroup.parent)
        group.wait_until_serving(epoch + 1, _START)
        victim = next(filter(None, (group.processes(self._node, word) for word in self._words)))[-1]
        Path(f"/proc/{victim}/oom_score_adj").write_text(_FIRST)
        command = (sys.executable, "-c", _EATER, str(self._cgroup))
        self._eater = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._eater.stdout is not None
        self._eater.stdout.readline()

    def act(self, _: LocalGroup) -> Undo:
        """Set the limit near what is used, and take the rest."""
        assert self._eater is not None
        used = int((self._cgroup / "memory.usage_in_bytes").read_text())
        self._limit(str(used + _ROOM))
        self._eater.communicate("go\n", timeout=30)
        # The supervisor tells the limit that was reached.
        return partial(self._limit, "-1")

    def _limit(self, value: str) -> None:
        (self._cgroup / "memory.limit_in_bytes").write_text(value)

    def _release(self) -> None:
        """Everything goes back to where it was."""
        self._limit("-1")
        if self._eater is not None:
            self._eater.kill()
            self._eater.wait()
        cgroups.remove(self._cgroup)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

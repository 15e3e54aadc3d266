"""Faults of memory: /dev/shm, the disk behind caches and /tmp, and the kernel's out-of-memory kill."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

import cgroups
from engine.services import LocalGroup
from faults.acts import Act, Unavailable, Undo, ends, killed, nothing
from vllm_multinode.contract import env
from vllm_multinode.contract.exit_codes import ExitCode

_MEMORY: Final = Path("/sys/fs/cgroup/memory")
_CGROUP: Final = "faults-"
_START: Final = 300.0
_FIRST: Final = "1000"
_ROOM: Final = 8 << 20
# Takes memory piece by piece until the kernel has killed something, which is not this one.
_EATER: Final = """
import sys, time
from pathlib import Path
killed = Path(sys.argv[1], "memory.oom_control")
taken = []
while len(taken) < 4096 and "oom_kill 0" in killed.read_text():
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


def limited(node: str, *words: str) -> Act:
    """A memory cgroup is made for the node, as a container has one; where none may be made, it is no fault.

    The kernel charges what is allocated from then on, so the engine is started again in it.

    Args:
        node: that gets it.
        words: in the titles of the engine's processes, of which one is killed so that all start again.
    """

    def act(group: LocalGroup) -> Undo:
        try:
            folder = cgroups.make("memory", _CGROUP)
        except cgroups.NoCgroupError as error:
            raise Unavailable(str(error)) from error
        cgroups.move(group.processes(node, ""), folder)
        epoch = group.status()["epoch"]
        killed(node, *words)(group)
        group.wait_until_serving(epoch + 1, _START)
        return partial(_release, folder)

    return act


def out_of_memory(node: str, *words: str) -> Act:
    """The cgroup reaches its limit, and the kernel kills a process that has one of the words in its title."""

    def act(group: LocalGroup) -> Undo:
        victim = next(filter(None, (group.processes(node, word) for word in words)))[-1]
        Path(f"/proc/{victim}/oom_score_adj").write_text(_FIRST)
        folder = max(_MEMORY.glob(f"**/{_CGROUP}*"), key=lambda one: one.stat().st_mtime)
        used = int((folder / "memory.usage_in_bytes").read_text())
        (folder / "memory.limit_in_bytes").write_text(str(used + _ROOM))
        _eat(folder)
        (folder / "memory.limit_in_bytes").write_text("-1")
        return nothing

    return act


def _eat(folder: Path) -> None:
    """Take what is left, in a process that joins the cgroup."""
    join = 'echo $$ > "$1/cgroup.procs"; exec "$2" -c "$3" "$1"'
    subprocess.run(["sh", "-c", join, "sh", str(folder), sys.executable, _EATER], check=True, timeout=30)


def _release(folder: Path) -> None:
    """Everything goes back to where it was."""
    (folder / "memory.limit_in_bytes").write_text("-1")
    time.sleep(0.1)
    cgroups.remove(folder)

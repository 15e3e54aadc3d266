"""Processes of the engine that die or stand still while the one that the supervisor has started lives on.

vLLM itself ends late: under Ray it stays in its step until `VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS`, under mp the
API server ends some ten seconds later, with status 0. The kernel tells of a death by the process's pidfd, so
that nothing is asked meanwhile; /proc is looked through once a second, for processes that are new.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_multinode.launcher.memory import oom_kills
from vllm_multinode.launcher.proc import engine_tree, process_state

SCAN: Final = 1.0
"""Seconds between two looks for new processes."""
# The titles that vLLM gives its processes, and Ray its actors; Ray's idle workers come and go.
_TITLES: Final = ("VLLM::", "ray::RayWorker")
# Programs of Ray that no node does without.
_PROGRAMS: Final = ("raylet", "gcs_server")
_POLL: Final = 0.5


def title(pid: int) -> str:
    """What a process calls itself, or nothing where it is gone or a zombie."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return words[0].decode(errors="replace").strip()


def _is_needed(name: str) -> bool:
    return name.startswith(_TITLES) or name.rpartition("/")[2] in _PROGRAMS


def engine_processes() -> dict[int, str]:
    """Titles of the engine's living processes below this one, by number."""
    named = ((pid, title(pid)) for pid in engine_tree())
    return {pid: name.rpartition("/")[2] or name for pid, name in named if _is_needed(name)}


@dataclass(frozen=True)
class Death:
    """A process that is gone: its number and its title."""

    pid: int
    title: str

    def __str__(self) -> str:
        return f"{self.title} (process {self.pid}) died"


class Deaths:
    """Notices the first process of the engine that is gone.

    Args:
        root: of the file system, where the kernel counts what it has killed for memory.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._killed = oom_kills(root)

    async def first(self) -> Death:
        """Wait for it."""
        known: dict[int, str] = {}
        gone = asyncio.Event()
        watched: dict[int, int] = {}
        loop = asyncio.get_running_loop()
        try:
            while True:
                living = engine_processes()
                for pid, name in known.items():
                    if pid not in living:
                        return Death(pid, name)
                for pid in living.keys() - watched.keys():
                    _watch(loop, pid, watched, gone.set)
                known = living
                gone.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SCAN):
                        await gone.wait()
        finally:
            for descriptor in watched.values():
                loop.remove_reader(descriptor)
                os.close(descriptor)

    def for_memory(self) -> str:
        """Whether the kernel has killed anything of this container for memory since, in words."""
        now = oom_kills(self._root)
        if now.count <= self._killed.count:
            return ""
        limit = f"of {now.limit / 1024**3:.1f} GiB " if now.limit is not None else ""
        return f"killed by the kernel because the container's memory limit {limit}was reached"


def _watch(
    loop: asyncio.AbstractEventLoop, pid: int, watched: dict[int, int], gone: Callable[[], None]
) -> None:
    """Have `gone` called when the process ends; without pidfds the next look finds out."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    watched[pid] = descriptor

    def ended() -> None:
        # It stays readable: once is enough.
        loop.remove_reader(descriptor)
        gone()

    loop.add_reader(descriptor, ended)


async def stopped(timeout: float) -> str:
    """Return once a process of the engine on this node has been stopped by a signal for `timeout` seconds.

    It holds its locks and answers nothing. Of those that are, the one with a title of vLLM's is named.
    """
    since: dict[int, float] = {}
    tree: list[int] = []
    loop = asyncio.get_running_loop()
    looked = -SCAN
    # It may have been stopped just after the last look.
    poll = min(_POLL, timeout / 4)
    while True:
        await asyncio.sleep(poll)
        now = loop.time()
        if now - looked >= SCAN:
            tree, looked = engine_tree(), now
        since = {pid: since.get(pid, now) for pid in tree if process_state(pid) == "T"}
        late = [pid for pid, start in since.items() if now - start >= timeout - poll]
        if late:
            pid = min(late, key=lambda one: (not _is_needed(title(one)), one))
            return f"{title(pid) or 'a process'} (process {pid}) is stopped (SIGSTOP)"

"""Processes of the engine that die while the one that the supervisor has started lives on.

vLLM itself ends late: under Ray it stays in its step until `VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS`, under mp the
API server ends some ten seconds later, with status 0.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

from vllm_multinode.launcher.memory import oom_kills
from vllm_multinode.launcher.proc import descendants

POLL: Final = 0.25
# The titles that vLLM gives its processes, and Ray its actors; Ray's idle workers come and go.
_TITLES: Final = (b"VLLM::", b"ray::RayWorker")


def engine_processes() -> dict[int, str]:
    """Titles of the engine's living processes below this one, by number."""
    found = {}
    for pid in descendants(os.getpid()):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        # A zombie has none.
        if title.startswith(_TITLES):
            found[pid] = title.split(b"\0")[0].decode(errors="replace").strip()
    return found


class Deaths:
    """Notices the first process of the engine that is gone.

    Args:
        root: of the file system, where the kernel counts what it has killed for memory.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._killed = oom_kills(root)

    async def first(self) -> str:
        """Wait for it; returns its title."""
        known: dict[int, str] = {}
        while True:
            living = engine_processes()
            for pid, title in known.items():
                if pid not in living:
                    return f"{title} (process {pid})"
            known = living
            await asyncio.sleep(POLL)

    def for_memory(self) -> str:
        """Whether the kernel has killed anything of this container for memory since, in words."""
        now = oom_kills(self._root)
        if now.count <= self._killed.count:
            return ""
        limit = f"of {now.limit / 1024**3:.1f} GiB " if now.limit is not None else ""
        return f", killed by the kernel because the container's memory limit {limit}was reached"

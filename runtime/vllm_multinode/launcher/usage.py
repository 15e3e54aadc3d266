"""What the engine's processes on this node do: their share of the processor, and how far they are in loading.

All of it is read from /proc, so that no engine is asked, and the same is known of every rank, version and
executor.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from vllm_multinode.launcher.deaths import engine_processes
from vllm_multinode.launcher.messages import Loading, ProcessUsage

_MOST: Final = 64
"""Processes of a node that are told of: more than ranks and their helpers."""
_GONE: Final = 2
"""Looks in a row that find no weight file in a process that has had one: it has done with all."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def processes(started: Mapping[int, str], root: Path = Path("/proc")) -> dict[int, ProcessUsage]:
    """The engine's processes below this one, by number, with what they have used since their start.

    Args:
        started: names of the processes that the supervisor itself has started, by number.
        root: where the kernel tells of processes.
    """
    named = engine_processes() | dict(started)
    found = ((pid, _usage(root / str(pid), name)) for pid, name in sorted(named.items())[:_MOST])
    return {pid: one for pid, one in found if one is not None}


def _usage(folder: Path, name: str) -> ProcessUsage | None:
    """None where it is gone."""
    try:
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        user, system = int(fields[11]) / _TICKS, int(fields[12]) / _TICKS
    except (OSError, ValueError, IndexError):
        return None
    return ProcessUsage(name=name[:64], user_s=user, system_s=system, queued_s=round(_queued(folder), 3))


def _queued(folder: Path) -> float:
    """Seconds that its first thread was ready to run, and another had the core or a quota was used up."""
    try:
        return int((folder / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class LoadingProgress:
    """How far this node's processes are in the weight files, by the files that they have open or mapped.

    Engines read the files in order, each once. The slowest process counts.

    Args:
        files: the weight files of the model.
        root: where the kernel tells of processes.
    """

    def __init__(self, files: Iterable[Path], root: Path = Path("/proc")) -> None:
        ordered = sorted(str(file.resolve()) for file in files)
        self._position = {name: number for number, name in enumerate(ordered)}
        self._root = root
        self._reached: dict[int, int] = {}
        self._without: dict[int, int] = {}

    def look(self, pids: Collection[int]) -> Loading | None:
        """The files that every process has done with, of all; None before any has begun."""
        total = len(self._position)
        for pid in pids:
            held = [self._position[name] for name in _held(self._root / str(pid)) if name in self._position]
            if held:
                self._reached[pid], self._without[pid] = max(held), 0
            elif pid in self._reached:
                self._without[pid] += 1
        # Between two files a process holds none for a moment, and after the last one for good.
        done = [
            position if self._without[pid] < _GONE else total
            for pid, position in self._reached.items()
            if pid in pids
        ]
        return Loading(done=min(done), total=total) if done else None


def _held(folder: Path) -> set[str]:
    """The files that a process has mapped or open."""
    found: set[str] = set()
    try:
        with (folder / "maps").open(errors="surrogateescape") as lines:
            found = {line[line.index("/") :].rstrip("\n") for line in lines if "/" in line}
        for entry in os.scandir(folder / "fd"):
            found.add(os.readlink(entry.path))  # noqa: PTH115 - of hundreds, four times a second
    except OSError:
        return found
    return found

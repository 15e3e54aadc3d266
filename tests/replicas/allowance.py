"""A CPU allowance for each group, so that groups on one machine are as fast as each other.

In a cluster every group has nodes of its own. Here they share a few cores, and the scheduler gives one more
than another; a router that looks at load then rightly sends the slower one less.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cgroups
from engine.services import LocalGroup

_PERIOD: Final = 50_000
"""Microseconds; shorter than a request, so that a group that has used its part does not wait long."""
_WEIGHT: Final = 8192
"""Of a group against routers and clients (1024 each), which have what the groups leave."""
_PARTS: Final = 0.7
"""Of the machine, for all groups; the rest is for routers and clients."""
_PASSES: Final = 20


class Allowance:
    """CPU time of one group's processes, those that it starts later included.

    Args:
        group: it must run already.
        folder: its control group.
        cores: that its processes may use together.
    """

    def __init__(self, group: LocalGroup, folder: Path, cores: float) -> None:
        self._folder, self._cores = folder, cores
        (folder / "cpu.shares").write_text(str(_WEIGHT))
        (folder / "cpu.cfs_period_us").write_text(str(_PERIOD))
        for _ in range(_PASSES):
            inside = set(cgroups.members(folder))
            outside = [pid for pid in _tree(group.run.process.pid) if pid not in inside]
            if not outside:
                return
            cgroups.move(outside, folder)
        raise AssertionError(f"processes of {group.run.directory} keep appearing outside {folder}")

    def limit(self) -> None:
        """It gets no more than its part from now on."""
        (self._folder / "cpu.cfs_quota_us").write_text(str(round(self._cores * _PERIOD)))

    def lift(self) -> None:
        """It may take what the others leave, as while its engine starts."""
        (self._folder / "cpu.cfs_quota_us").write_text("-1")


def cores_each(groups: int) -> float:
    """What each of so many groups may use of this machine."""
    return _PARTS * len(os.sched_getaffinity(0)) / groups


@contextmanager
def allowances(groups: Sequence[LocalGroup], cores: float) -> Iterator[list[Allowance]]:
    """A limited allowance for each.

    Args:
        groups: that run.
        cores: of each.

    Raises:
        cgroups.NoCgroupError: this machine does not let us.
    """
    folders: list[Path] = []
    try:
        found = []
        for group in groups:
            folders.append(cgroups.make("cpu", "replicas-"))
            found.append(Allowance(group, folders[-1], cores))
        for allowance in found:
            allowance.limit()
        yield found
    finally:
        for folder in folders:
            cgroups.remove(folder)


def _tree(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def _parent(entry: Path) -> int | None:
    try:
        state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    # What has ended cannot be moved.
    return None if state in "ZX" else int(parent)

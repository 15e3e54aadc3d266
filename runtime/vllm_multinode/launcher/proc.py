"""What /proc tells of the processes below this one."""

import functools
import os
from pathlib import Path
from typing import Final

from vllm_multinode.launcher.reserve import Reserve


@functools.cache
def keep_descriptors() -> Reserve:
    """What this process keeps back, from the first call on, to look at /proc though its table is full."""
    return Reserve()


def parents() -> dict[int, int]:
    """Parent by process, for all processes of this PID namespace."""
    table: dict[int, int] = {}
    with keep_descriptors().lent():
        for entry in os.listdir("/proc"):  # noqa: PTH208 - os.listdir is half the cost, every two seconds
            if entry.isdigit():
                found = _stat(int(entry))
                if found is not None:
                    table[int(entry)] = found[1]
    return table


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and parent, from /proc/<pid>/stat."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    state, parent, *_ = text.rpartition(")")[2].split()
    return state, int(parent)


def descendants(root: int) -> list[int]:
    """Every process below `root`."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    return _below(root, children)


_apart: Final[set[int]] = set()


def set_apart(pid: int, *, apart: bool = True) -> None:
    """Say that a child of this process is no part of an engine, or is one again."""
    if apart:
        _apart.add(pid)
    else:
        _apart.discard(pid)


def engine_tree() -> list[int]:
    """Every process below this one, but for those that were set apart and what is below them."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        if pid not in _apart:
            children.setdefault(parent, []).append(pid)
    return _below(os.getpid(), children)


def _below(root: int, children: dict[int, list[int]]) -> list[int]:
    found: list[int] = []
    stack = [root]
    while stack:
        below = children.get(stack.pop(), [])
        found += below
        stack += below
    return found


def process_state(pid: int) -> str:
    """The letter of its state, T where a signal has stopped it; nothing where it is gone."""
    found = _stat(pid)
    return found[0] if found is not None else ""

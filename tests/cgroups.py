"""Control groups of version 1, made below this process's own and removed again."""

import contextlib
import secrets
from pathlib import Path
from typing import Final, Literal

from engine.services import eventually

_MOUNT: Final = Path("/sys/fs/cgroup")


class NoCgroupError(Exception):
    """None can be made on this machine; the message says why."""


def make(controller: Literal["cpu", "memory"], prefix: str) -> Path:
    """The directory of a new control group.

    Raises:
        NoCgroupError: there is no such controller of version 1, or this process may not.
    """
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    own = next((path for _, names, path in lines if controller in names.split(",")), None)
    if own is None:
        raise NoCgroupError(f"no {controller} cgroup of version 1 here")
    folder = _MOUNT / controller / own.strip("/") / f"{prefix}{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as error:
        raise NoCgroupError(f"no {controller} cgroup can be made here ({error.strerror})") from error
    return folder


def move(pids: list[int], folder: Path) -> None:
    """Put processes into a control group; one that has ended meanwhile is left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            (folder / "cgroup.procs").write_text(str(pid))


def members(folder: Path) -> list[int]:
    """The processes in a control group."""
    return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]


def remove(folder: Path) -> None:
    """Give its processes back to the control group above, and remove it."""

    def removed() -> bool:
        move(members(folder), folder.parent)
        with contextlib.suppress(OSError):
            folder.rmdir()
        return not folder.exists()

    eventually(removed)

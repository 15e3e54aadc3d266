"""The Linux system calls that Python 3.11 has no name for, over ctypes."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntFlag
from functools import cache
from pathlib import Path
from signal import SIGKILL
from typing import Final


class Namespace(IntFlag):
    """CLONE_NEW*: what a process can have of its own; see namespaces(7)."""

    MOUNT = 0x00020000
    UTS = 0x04000000
    IPC = 0x08000000
    USER = 0x10000000
    PID = 0x20000000
    NET = 0x40000000


class Mount(IntFlag):
    """MS_*; see mount(2)."""

    NONE = 0
    READ_ONLY = 0x1
    NO_SUID = 0x2
    NO_DEV = 0x4
    NO_EXEC = 0x8
    REMOUNT = 0x20
    NO_ATIME = 0x400
    NO_DIR_ATIME = 0x800
    BIND = 0x1000
    RECURSIVE = 0x4000
    PRIVATE = 0x40000
    RELATIVE_ATIME = 0x200000


_DETACH: Final = 2
_PARENT_DEATH_SIGNAL: Final = 1


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str, path: str | None = None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}", path)


def unshare(namespaces: Namespace) -> None:
    """Leave these namespaces for new ones; for PID, only children born from now on."""
    _check(_libc().unshare(ctypes.c_int(namespaces)), f"unshare({namespaces!r})")


def enter(descriptor: int, namespace: Namespace) -> None:
    """Join the namespace that an open /proc/PID/ns file names; for PID, only future children."""
    _check(_libc().setns(ctypes.c_int(descriptor), ctypes.c_int(namespace)), f"setns({namespace!r})")


@contextmanager
def inside(descriptor: int, home: int, namespace: Namespace) -> Iterator[None]:
    """Join a namespace for the time of a block, then go back to the one that `home` is open on."""
    enter(descriptor, namespace)
    try:
        yield
    finally:
        enter(home, namespace)


def mount(source: str, target: Path | str, kind: str = "", flags: Mount = Mount.NONE, data: str = "") -> None:
    """mount(2); `kind` and `data` are empty where the call has none."""
    result = _libc().mount(
        source.encode(),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _check(result, f"mount({kind or 'bind'})", str(target))


def detach(target: Path | str) -> None:
    """Unmount now for every new user, and for good when the last one is gone."""
    _check(_libc().umount2(os.fsencode(target), ctypes.c_int(_DETACH)), "umount2", str(target))


def pivot_root(new_root: Path) -> int:
    """Make `new_root`, a mount point, the root.

    Returns:
        A descriptor of the old root for `leave`: until then its mounts are there to be bound.
    """
    old_root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    os.chdir(new_root)
    # Both names may be the same: the old root is then stacked on top of the new one.
    _check(_libc().pivot_root(b".", b"."), "pivot_root", str(new_root))
    os.chdir("/")
    return old_root


def leave(old_root: int) -> None:
    """Let go of the root that `pivot_root` replaced."""
    os.fchdir(old_root)
    detach(".")
    os.chdir("/")
    os.close(old_root)


def die_with_parent() -> None:
    """Have the kernel send SIGKILL to this process when its parent ends, however it ends.

    Changing credentials clears it, so call this after a user namespace was entered; and look afterwards
    whether the parent is still there, for it may have ended before.
    """
    _check(_libc().prctl(_PARENT_DEATH_SIGNAL, ctypes.c_ulong(SIGKILL), 0, 0, 0), "prctl(PDEATHSIG)")

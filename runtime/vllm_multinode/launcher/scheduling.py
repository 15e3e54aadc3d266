"""The supervisor answers on time however busy the engine keeps the cores."""

import contextlib
import ctypes
import logging
import os
import platform
import struct
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
"""Number of sched_setattr(2); the C library has no name for it."""
_RESET_ON_FORK: Final = 0x01
_ENGINE_NICE: Final = 5
_SLICE_NS: Final = 500_000


def ask_for_short_slices() -> bool:
    """Ask for slices of 0.5 ms, so that this thread runs soon after it wakes.

    From Linux 6.12 on, the scheduler lets a thread with a shorter slice run first; it gets no more of the
    processor than before, and needs no privilege. The engine's processes do not inherit it.

    Returns:
        Whether the kernel took it; older ones ignore the slice or reject the call.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        return False
    # struct sched_attr: size, policy (normal), flags, nice, priority, runtime (the slice), deadline, period.
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = struct.pack("=IIQiIQQQ", 48, 0, _RESET_ON_FORK, nice, 0, _SLICE_NS, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, 0, attributes, 0):
        log.debug("sched_setattr: %s", os.strerror(ctypes.get_errno()))
        return False
    return True


def give_way(pid: int) -> None:
    """Let a session that has a scheduling group of its own (autogroup) come after the supervisor's.

    Kernels and containers without such groups are left as they are.

    Args:
        pid: a process of that session.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(_ENGINE_NICE))

"""What a hung engine's processes are doing, written to the log before they are killed.

py-spy reads a Python process from outside, also one that holds its lock; where the image lacks it, or may not
trace, Python's own faulthandler writes every thread's stack on SIGABRT (PYTHONFAULTHANDLER, which the engine
is started with), as the last thing that the process does.
"""

import asyncio
import contextlib
import logging
import os
import resource
import shutil
import signal
from collections.abc import Sequence
from typing import Final

from vllm_multinode.launcher.proc import engine_tree

log = logging.getLogger(__name__)

ENVIRONMENT: Final = {"PYTHONFAULTHANDLER": "1"}
_MOST: Final = 32
"""Processes; those of a whole node's ranks, not every helper of Ray's."""
_SPY_TIMEOUT: Final = 4.0
_LAST_OUTPUT: Final = 0.5
_LONGEST: Final = 64 * 1024


async def write_stacks(pids: Sequence[int] | None = None) -> int:
    """Write the stacks of these processes, or of all below this one; returns how many have been asked.

    The processes do not survive it. It takes a few seconds at most and raises nothing.
    """
    chosen = list(engine_tree() if pids is None else pids)[:_MOST]
    if not chosen:
        return 0
    log.warning("stacks of the engine's processes follow: %s", ", ".join(map(str, chosen)))
    spy = shutil.which("py-spy")
    seen: Sequence[bool] = [False] * len(chosen)
    if spy is not None:
        seen = await asyncio.gather(*(_spy(spy, pid) for pid in chosen))
    left = [pid for pid, done in zip(chosen, seen, strict=True) if not done]
    for pid in left:
        _abort(pid)
    if left:
        # Their last output still has to come through the pipe.
        await asyncio.sleep(_LAST_OUTPUT)
    return len(chosen)


async def _spy(program: str, pid: int) -> bool:
    """Whether py-spy could read a process."""
    try:
        spy = await asyncio.create_subprocess_exec(
            program,
            "dump",
            "--pid",
            str(pid),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return False
    try:
        output, _ = await asyncio.wait_for(spy.communicate(), _SPY_TIMEOUT)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            spy.kill()
        return False
    text = output.decode(errors="replace")[:_LONGEST].strip()
    if text:
        log.warning("py-spy of process %d:\n%s", pid, text)
    return bool(text)


def _abort(pid: int) -> None:
    """SIGABRT without a core file, which would be as large as the model; a stopped process is let go on."""
    with contextlib.suppress(OSError, ValueError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGABRT)
        os.kill(pid, signal.SIGCONT)

"""`multinode local run --detach`: the runner goes on in the background once its nodes are up."""

import os
from collections.abc import Callable
from pathlib import Path

from vllm_multinode.local.rundir import RunDirectory


def in_background(work: Callable[[Callable[[RunDirectory], None]], None], tell: Callable[[str], None]) -> int:
    """Do `work` in a child, and return when it calls what it is given, or has ended before.

    Call it before any thread or event loop is made.

    Args:
        work: what the child does.
        tell: called in the parent with the run's name when the run is up.

    Returns:
        In the parent, 0 when the run is up, else the child's exit code; the child has said on the same
        stderr what was wrong. In the child, 0 when `work` returns.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()
        work(lambda directory: _settle(directory, writing))
        return 0
    os.close(writing)
    with os.fdopen(reading) as pipe:
        up = pipe.read()
    if up:
        tell(up)
        return 0
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


def _settle(directory: RunDirectory, parent: int) -> None:
    """Let go of the terminal, and tell the parent the run's name."""
    with Path(os.devnull).open("rb") as nothing, (directory.path / "run.log").open("ab") as log:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.write(parent, directory.name.encode())
    os.close(parent)

"""flock(2) on directories: held by processes, and free when the last of them is gone."""

import os
import time
from pathlib import Path
from typing import Final

_POLL: Final = 0.01


def wait_for(path: Path, timeout: float) -> int | None:
    """A locked descriptor of the directory, or None where it is gone.

    Raises:
        TimeoutError: somebody else holds it for longer than `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while path.exists():
        descriptor = take(path)
        if descriptor is not None:
            if _same(descriptor, path):
                return descriptor
            # Its last holder removed it, and another may have made a new one.
            os.close(descriptor)
        elif time.monotonic() >= deadline:
            raise TimeoutError(str(path))
        else:
            time.sleep(_POLL)
    return None


def take(path: Path) -> int | None:
    """A locked descriptor of the directory, or None where somebody else holds it, or it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    # Windows lacks the module, and is to be told so in a line when a command is run, not here by a traceback.
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

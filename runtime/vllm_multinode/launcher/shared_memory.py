"""Shared memory: large enough before the engine starts, and cleaned of what a dead one left."""

import fcntl
import logging
import os
import signal
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

logger = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
_MIB = 1024 * 1024


def check_shared_memory(minimum: int, directory: Path = SHARED_MEMORY) -> None:
    """Refuse a /dev/shm that is too small: the engine's ranks would end with a bus error, with no word why.

    Args:
        minimum: MiB; 0 switches the check off.
        directory: where the shared memory is mounted.

    Raises:
        MultinodeError: SHARED_MEMORY.
    """
    if minimum == 0:
        return
    hint = f"Mount an emptyDir of medium Memory, sizeLimit {minimum}Mi or more, at {directory}."
    try:
        status = os.statvfs(directory)
    except OSError as error:
        what = f"there is no shared memory: {error.strerror or error}."
        raise MultinodeError(ExitCode.SHARED_MEMORY, what, where=str(directory), hint=hint) from error
    size = status.f_blocks * status.f_frsize // _MIB
    if size < minimum:
        what = f"{size} MiB, and MULTINODE_SHARED_MEMORY_MIN is {minimum} MiB."
        raise MultinodeError(ExitCode.SHARED_MEMORY, what, where=str(directory), hint=hint)


def list_shared_memory(directory: Path = SHARED_MEMORY) -> frozenset[str]:
    """Return the names in /dev/shm, to be kept by `clean_shared_memory`."""
    try:
        return frozenset(entry.name for entry in directory.iterdir())
    except OSError:
        return frozenset()


def mapped_files(directory: Path = SHARED_MEMORY, proc: Path = Path("/proc")) -> frozenset[str]:
    """Return the names in the directory that a living process has mapped, of those that we may look into."""
    prefix = f"{directory}/"
    names: set[str] = set()
    for maps in proc.glob("[0-9]*/maps"):
        try:
            lines = maps.read_text(errors="replace").splitlines()
        except OSError:
            # It has ended, or is another user's: that user's files are not touched in any case.
            continue
        paths = (line.partition(prefix)[2] for line in lines if prefix in line)
        names.update(path.removesuffix(" (deleted)") for path in paths)
    return frozenset(names)


def clean_shared_memory(
    before: Iterable[str],
    directory: Path = SHARED_MEMORY,
    *,
    uid: int | None = None,
    in_use: Callable[[Path], frozenset[str]] = mapped_files,
) -> list[str]:
    """Remove what a dead engine left: segments and semaphores that are new, ours, and open nowhere.

    Directories stay; the engine makes none.

    Args:
        before: names that were there before the engine started.
        directory: where the shared memory is mounted.
        uid: whose files; the process's own by default.
        in_use: returns the names that living processes have mapped.

    Returns:
        The names that were removed.
    """
    uid = os.getuid() if uid is None else uid
    left = sorted(list_shared_memory(directory).difference(before))
    used = in_use(directory) if left else frozenset()
    removed = [name for name in left if name not in used and _remove(directory / name, uid)]
    if removed:
        logger.info("Removed %d files that the engine left in %s.", len(removed), directory)
    return removed


def _remove(path: Path, uid: int) -> bool:
    try:
        status = path.lstat()
        if status.st_uid != uid or not stat.S_ISREG(status.st_mode) or _is_open(path):
            return False
        path.unlink()
    except OSError as error:
        logger.debug("%s stays in the shared memory: %s.", path, error.strerror or error)
        return False
    return True


def _is_open(path: Path) -> bool:
    """Whether a process has the file open or mapped, those of other containers included.

    The kernel grants a write lease on a file that nobody else has open. Where it grants no leases at all,
    only the processes that this one can see are known, see `mapped_files`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # Whoever opens it meanwhile has the kernel signal us: with SIGURG, which nobody minds.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return True
    except OSError as error:
        logger.debug("no lease on %s: %s", path, error.strerror or error)
    finally:
        os.close(descriptor)
    return False

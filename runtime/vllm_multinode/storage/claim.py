"""The directory that is filled: room, what can go wrong when it is written to, names of unfinished files."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vllm_multinode.checkpoint.marker import WORK
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

GIB: Final = 1 << 30
_MARGIN: Final = 64 << 20
"""Bytes for directories, the marker and what a filesystem keeps for itself."""


_IN_THE_WAY: Final = frozenset({errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY})
_NO_NAME: Final = frozenset({errno.EILSEQ, errno.EINVAL, errno.ENAMETOOLONG})
_WEIGHTS: Final = frozenset({".safetensors", ".bin", ".pt", ".pth", ".gguf"})
_LARGER: Final = "Enlarge the claim (spec.resources.requests.storage); fetched files are kept."


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what failed when the claim is written to.

    Raises:
        MultinodeError: CLAIM_FULL or NOT_WRITABLE.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "the claim is full: no space was left while this was written."
            raise MultinodeError(ExitCode.CLAIM_FULL, what, where=str(path), hint=_LARGER) from error
        if error.errno in _IN_THE_WAY:
            what = f"something else of this name is in the way: {error.strerror}."
            hint = "Remove it, or use a separate directory for each model."
            raise MultinodeError(ExitCode.NOT_WRITABLE, what, where=str(path), hint=hint) from error
        if error.errno in _NO_NAME:
            what = f"the claim's filesystem does not allow this name: {error.strerror}."
            hint = "Skip the file with --exclude, or use a claim with another filesystem."
            raise MultinodeError(ExitCode.NOT_WRITABLE, what, where=str(path), hint=hint) from error
        what = f"cannot be written: {error.strerror or error}."
        hint = "Check that the claim is mounted read-write and that its group or fsGroup may write."
        raise MultinodeError(ExitCode.NOT_WRITABLE, what, where=str(path), hint=hint) from error


def prepare(directory: Path) -> None:
    """Make the directory where there is none.

    Raises:
        MultinodeError: NOT_WRITABLE, CLAIM_FULL.
    """
    with writing(directory):
        (directory / WORK).mkdir(parents=True, exist_ok=True)


def check_room(directory: Path, needed: int, total: int) -> None:
    """Hold what is still to come against the room that there is.

    Args:
        directory: in the claim.
        needed: bytes still to write.
        total: bytes of the whole model, for the message.

    Raises:
        MultinodeError: CLAIM_FULL.
    """
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    # A filesystem that does not know its size (some object stores behind FUSE) says 0 of 0.
    if status.f_blocks == 0 or needed + _MARGIN <= free:
        return
    what = (
        f"{needed / GIB:.1f} GiB are still missing of {total / GIB:.1f} GiB, "
        f"and {free / GIB:.1f} GiB are free of {status.f_blocks * status.f_frsize / GIB:.1f} GiB."
    )
    raise MultinodeError(ExitCode.CLAIM_FULL, what, where=str(directory), hint=_LARGER)


def partial_of(directory: Path, name: str, version: str) -> Path:
    """Where an item lies until it is whole: another version of it gets another file."""
    short = hashlib.sha256(version.encode()).hexdigest()[:12]
    return directory / WORK / f"{name}.{short}.partial"


def length_of(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def remove(directory: Path, names: Iterable[str]) -> None:
    """Remove files of an earlier fetch, where they are still there."""
    for name in names:
        with writing(directory / name):
            (directory / name).unlink(missing_ok=True)


def clear(directory: Path) -> None:
    """Remove the folder of unfinished things."""
    with writing(directory / WORK):
        if (directory / WORK).is_dir():
            shutil.rmtree(directory / WORK)


def refuse_foreign_weights(directory: Path, ours: Iterable[str]) -> None:
    """Refuse a directory with weights of another model, which the engine would load as well.

    Raises:
        MultinodeError: USAGE.
    """
    known = set(ours)
    names = sorted(path.name for path in directory.iterdir() if path.suffix in _WEIGHTS)
    foreign = [name for name in names if name not in known]
    if foreign:
        more = f" and {len(foreign) - 1} more" if foreign[1:] else ""
        what = f"there are weights that are not of this source: {foreign[0]}{more}."
        hint = "Use a separate directory for each model, or remove them."
        raise MultinodeError(ExitCode.USAGE, what, where=str(directory), hint=hint)

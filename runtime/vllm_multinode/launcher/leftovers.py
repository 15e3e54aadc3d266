"""What a dead engine leaves among the temporary files: sockets without a listener, and Ray's sessions."""

import logging
import os
import shutil
import socket
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_SESSIONS: Final = "ray/session_*"
_LONGEST_WAIT: Final = 0.2


def temporary_folders(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where the engine puts its temporary files, and Ray its sessions."""
    usual = environment.get("TMPDIR") or "/tmp"  # noqa: S108 - a pod's own
    return tuple(Path(name) for name in dict.fromkeys((usual, environment.get("RAY_TMPDIR") or usual)))


def list_leftovers(folders: Iterable[Path]) -> frozenset[Path]:
    """Sockets and Ray's sessions, to be kept by `clean_leftovers`."""
    return frozenset(path for folder in folders for path in _leftovers(folder))


def _leftovers(folder: Path) -> list[Path]:
    try:
        return [*(path for path in folder.iterdir() if _is_socket(path)), *folder.glob(_SESSIONS)]
    except OSError:
        return []


def clean_leftovers(before: Iterable[Path], folders: Iterable[Path]) -> list[Path]:
    """Remove what is new, this user's, and used by no living process.

    Args:
        before: what was there before the engine started.
        folders: of the temporary files.

    Returns:
        What was removed.
    """
    removed = [path for path in sorted(list_leftovers(folders).difference(before)) if _remove(path)]
    if removed:
        places = ", ".join(sorted({str(path.parent) for path in removed}))
        log.info("removed %d sockets and sessions that the engine left in %s", len(removed), places)
    return removed


def _remove(path: Path) -> bool:
    try:
        status = path.lstat()
        if status.st_uid != os.getuid():
            return False
        if stat.S_ISDIR(status.st_mode):
            if any(_listens(one) for one in path.glob("sockets/*")):
                return False
            shutil.rmtree(path)
        elif stat.S_ISLNK(status.st_mode):
            # Ray's session_latest; it sorts behind the session that it names.
            if path.exists():
                return False
            path.unlink()
        elif _listens(path):
            return False
        else:
            path.unlink()
    except OSError as error:
        log.debug("%s stays: %s", path, error)
        return False
    return True


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False


def _listens(path: Path) -> bool:
    """Whether a process has the socket open; a dead one rejects at once."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_LONGEST_WAIT)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            # One of another type, or too long a path: what cannot be asked is left alone.
            return True
    return True

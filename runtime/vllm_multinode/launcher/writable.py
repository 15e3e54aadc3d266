"""Home and caches that this UID can write, found or replaced before the engine needs them.

OpenShift runs a container as a UID that no image knows: no entry in /etc/passwd, HOME often "/", and with a
read-only root filesystem only what is mounted can be written.
"""

import logging
import os
import pwd
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

logger = logging.getLogger(__name__)

_CACHES = (
    "CUDA_CACHE_PATH",
    "FLASHINFER_WORKSPACE_BASE",
    "HF_DATASETS_CACHE",
    "HF_MODULES_CACHE",
    "MPLCONFIGDIR",
    "NUMBA_CACHE_DIR",
    "OUTLINES_CACHE_DIR",
    "RAY_TMPDIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "TORCH_HOME",
    "TRITON_CACHE_DIR",
    "TRITON_HOME",
    "VLLM_ASSETS_CACHE",
    "VLLM_CACHE_ROOT",
    "VLLM_CONFIG_ROOT",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
)
"""Directories that libraries of the engine write to; where unset, they lie under HOME or TMPDIR."""

# May hold models on purpose and be mounted read-only.
_HF_HOME = "HF_HOME"
_HF_CACHES = (_HF_HOME, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")


def is_writable(directory: Path) -> bool:
    """Tell whether a file can be made in the directory, which is made where it is missing.

    Tried rather than asked: permission bits say nothing to root, and nothing about a read-only mount.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def writable_home(
    environment: Mapping[str, str],
    scratch: Path | None = None,
    *,
    uid: int | None = None,
    candidates: tuple[Path, ...] = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")),  # noqa: S108
    writable: Callable[[Path], bool] = is_writable,
) -> dict[str, str]:
    """Return the variables to change so that HOME, TMPDIR and every cache can be written.

    What is writable stays as it is. What is not moves under a directory of our own in the first place that
    can be written; a log line says from where to where. A HF_HOME that holds something is kept even if it is
    read-only, and only the code that is downloaded into it moves.

    Args:
        environment: the process's.
        scratch: where to move to in the first place (MULTINODE_SCRATCH).
        uid: of the process; asked of the system by default.
        candidates: where to move to without or after `scratch`, the best first. /dev/shm is last: it is
            memory, small, and at times mounted so that nothing in it can be executed.
        writable: tells whether a directory can be written.

    Raises:
        MultinodeError: NOT_WRITABLE when something has to move and there is no place.
    """
    uid = os.getuid() if uid is None else uid
    moves = _to_move(environment, writable)
    changes = _names_for(environment, uid)
    if not moves:
        return changes
    places = (scratch, *candidates) if scratch is not None else candidates
    base = next((place for place in (_own(place, uid, writable) for place in places) if place), None)
    if base is None:
        tried = ", ".join(map(str, places))
        what = f"{next(iter(moves))} cannot be written, and neither can any of {tried}."
        hint = "Mount an emptyDir at /tmp, or name a writable directory in MULTINODE_SCRATCH."
        raise MultinodeError(ExitCode.NOT_WRITABLE, what, where=_where(moves), hint=hint)
    for variable, old in moves.items():
        new = base / variable.lower()
        new.mkdir(mode=0o700, exist_ok=True)
        changes[variable] = str(new)
        logger.warning("%s cannot be written at %s; it is %s from here on.", variable, old, new)
    return changes


def _where(moves: Mapping[str, str]) -> str:
    variable, old = next(iter(moves.items()))
    return f"{variable} ({old})"


def _to_move(environment: Mapping[str, str], writable: Callable[[Path], bool]) -> dict[str, str]:
    """Return variable and present place of everything that cannot be written."""
    moves: dict[str, str] = {}
    for variable, default in (("HOME", None), ("TMPDIR", "/tmp")):  # noqa: S108
        place = environment.get(variable) or default
        # "/" is what a runtime sets for a user that it does not know, and no place for caches.
        if place is None or place == "/" or not writable(Path(place)):
            moves[variable] = place or "unset"
    for variable in _CACHES:
        place = environment.get(variable)
        if place and not writable(Path(place)):
            moves[variable] = place
    for variable in _HF_CACHES:
        place = environment.get(variable)
        if not place or writable(Path(place)):
            continue
        if not _holds_something(Path(place)):
            moves[variable] = place
        elif variable == _HF_HOME and "HF_MODULES_CACHE" not in environment:
            moves["HF_MODULES_CACHE"] = f"{place}/modules"
    return moves


def _names_for(environment: Mapping[str, str], uid: int) -> dict[str, str]:
    """Name a user that has no passwd entry; torch asks for the name and fails without one."""
    if environment.get("USER") or environment.get("LOGNAME"):
        return {}
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return {"USER": f"uid{uid}", "LOGNAME": f"uid{uid}"}
    return {}


def _holds_something(directory: Path) -> bool:
    try:
        return next(directory.iterdir(), None) is not None
    except OSError:
        return False


def _own(place: Path, uid: int, writable: Callable[[Path], bool]) -> Path | None:
    """Return our own directory in a place, made if need be; None where it cannot be, or is not ours.

    The name is short because Ray puts sockets below it, whose paths may not exceed 107 characters.
    """
    if not writable(place):
        return None
    directory = place / f"multinode-{uid}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError:
        return None
    # Others can write to /tmp as well: what they laid out for us there is not ours.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid:
        return None
    return directory if writable(directory) else None

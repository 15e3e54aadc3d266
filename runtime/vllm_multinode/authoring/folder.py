"""Writes rendered files into a folder: all of them or none, and over nobody else's."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

MARKER: Final = "# Written by `multinode render`; what is changed here is lost when it writes again.\n"
"""The first line of every file that may be overwritten."""


def write(folder: Path, texts: Mapping[str, str], *, force: bool = False) -> list[Path]:
    """Write files, and remove those that an earlier call wrote and this one does not.

    Args:
        folder: made where it is missing.
        texts: the text of each file, by name.
        force: overwrite files that do not begin with the marker.

    Returns:
        The files written.

    Raises:
        MultinodeError: USAGE where a file is somebody else's, or cannot be written.
    """
    try:
        foreign = [name for name in texts if (folder / name).exists() and not _is_ours(folder / name)]
        if foreign and not force:
            raise MultinodeError(
                ExitCode.USAGE,
                f"holds files that multinode render did not write: {', '.join(foreign)}.",
                where=str(folder),
                hint="Choose another folder, or overwrite with --force.",
            )
        if not folder.exists():
            return _make(folder, texts)
        return _replace(folder, texts)
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        what = f"cannot be written: {getattr(error, 'strerror', None) or error}."
        raise MultinodeError(ExitCode.USAGE, what, where=repr(str(folder))[1:-1]) from error


def _make(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """A new folder appears complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, text in texts.items():
            (unfinished / name).write_text(MARKER + text, encoding="utf-8")
        unfinished.chmod(0o777 & ~_umask())
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return [folder / name for name in texts]


def _replace(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Everything is written beside its place before anything is put there, the kustomization last."""
    unfinished = {folder / name: folder / f".{name}.{os.getpid()}" for name in texts}
    try:
        for (target, beside), text in zip(unfinished.items(), texts.values(), strict=True):
            if target.is_dir():
                raise IsADirectoryError(21, f"{target.name} is a folder")
            beside.write_text(MARKER + text, encoding="utf-8")
        for target, beside in unfinished.items():
            beside.replace(target)
    finally:
        for beside in unfinished.values():
            beside.unlink(missing_ok=True)
    for stale in folder.glob("*.yaml"):
        if stale.name not in texts and _is_ours(stale):
            stale.unlink()
    return list(unfinished)


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MARKER)) == MARKER.encode()
    except IsADirectoryError:
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

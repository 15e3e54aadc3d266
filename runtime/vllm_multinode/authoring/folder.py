"""Writes files into a folder: all of them or none, and over nobody else's."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vllm_multinode.contract.bounded import open_file
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

MARKER: Final = "# Written by `multinode render`; changes here are lost when it runs again.\n"
"""The first line of every rendered file that may be overwritten."""
REPORT: Final = "report.md"
REPORT_MARKER: Final = (
    "<!-- Written by `multinode convert`; the whole folder is replaced when it runs again. -->\n"
)
"""The first line of the report of a conversion, which tells a folder that may be replaced."""


def write(folder: Path, texts: Mapping[str, str], *, force: bool = False) -> list[Path]:
    """Write rendered files, and remove those that an earlier call wrote and this one does not.

    Other files in the folder stay.

    Args:
        folder: made where it is missing.
        texts: the text of each file, by name.
        force: overwrite files that do not begin with the marker.

    Returns:
        The files written.

    Raises:
        MultinodeError: USAGE where a file is somebody else's, or cannot be written.
    """
    marked = {name: MARKER + text for name, text in texts.items()}
    with _told(folder):
        foreign = [
            name for name in texts if (folder / name).exists() and not _begins_with(folder / name, MARKER)
        ]
        if foreign and not force:
            raise MultinodeError(
                ExitCode.USAGE,
                f"contains files that multinode render did not write: {', '.join(foreign)}.",
                where=str(folder),
                hint="Choose another folder, or overwrite with --force.",
            )
        if folder.exists():
            _write_into(folder, marked)
        else:
            with _beside(folder, marked) as unfinished:
                unfinished.rename(folder)
    return [folder / name for name in texts]


def replace(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write the folder of a conversion, in the place of an earlier one's.

    Args:
        folder: new, empty, or of an earlier conversion.
        texts: the text of each file by its path in the folder; report.md among them.

    Returns:
        The files written.

    Raises:
        MultinodeError: USAGE where the folder holds something else, or cannot be written.
    """
    marked = {name: REPORT_MARKER + text if name == REPORT else text for name, text in texts.items()}
    with _told(folder):
        if folder.exists() and not _is_of_a_conversion(folder):
            what = "contains files that multinode convert did not write."
            raise MultinodeError(ExitCode.USAGE, what, where=str(folder), hint="Choose another folder.")
        with _beside(folder, marked) as unfinished:
            _swap(unfinished, folder)
    return [folder / name for name in texts]


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What the operating system objects to, as one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        what = f"cannot be written: {getattr(error, 'strerror', None) or error}."
        raise MultinodeError(ExitCode.USAGE, what, where=repr(str(folder))[1:-1]) from error


@contextmanager
def _beside(folder: Path, texts: Mapping[str, str]) -> Iterator[Path]:
    """A complete folder beside its place; it is gone afterwards, unless it was moved."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, text in texts.items():
            target = unfinished / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        unfinished.chmod(0o777 & ~_umask())
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_into(folder: Path, texts: Mapping[str, str]) -> None:
    """Everything is written beside its place before anything is put there, the kustomization last."""
    unfinished = {folder / name: folder / f".{name}.{os.getpid()}" for name in texts}
    try:
        for (target, beside), text in zip(unfinished.items(), texts.values(), strict=True):
            if target.is_dir():
                raise IsADirectoryError(21, f"{target.name} is a folder")
            beside.write_text(text, encoding="utf-8")
        for target, beside in unfinished.items():
            beside.replace(target)
    finally:
        for beside in unfinished.values():
            beside.unlink(missing_ok=True)
    for stale in folder.glob("*.yaml"):
        if stale.name not in texts and _begins_with(stale, MARKER):
            stale.unlink()


def _swap(unfinished: Path, folder: Path) -> None:
    if not folder.exists():
        unfinished.rename(folder)
        return
    old = unfinished.with_name(f"{unfinished.name}.old")
    folder.rename(old)
    try:
        unfinished.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _is_of_a_conversion(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return not any(folder.iterdir()) or _begins_with(folder / REPORT, REPORT_MARKER)


def _begins_with(path: Path, marker: str) -> bool:
    try:
        with open_file(path) as file:
            return file.read(len(marker)) == marker.encode()
    except OSError:
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

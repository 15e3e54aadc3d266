"""Writes what a conversion makes into a folder: all of it or nothing, and over nobody else's files."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

MARKER: Final = (
    "<!-- Written by `multinode convert`; the whole folder is replaced when it writes again. -->\n"
)
"""The first line of the report, which tells a folder that may be replaced."""
REPORT: Final = "report.md"


def write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write a folder that is new, empty, or of an earlier conversion.

    Args:
        folder: made where it is missing.
        files: texts by their path in the folder; report.md among them.

    Returns:
        The files written.

    Raises:
        MultinodeError: USAGE where the folder holds something else, or cannot be written.
    """
    try:
        if folder.exists() and not _may_be_replaced(folder):
            what = "holds files that multinode convert did not write."
            raise MultinodeError(ExitCode.USAGE, what, where=str(folder), hint="Choose another folder.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _fill(beside, files)
            _swap(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        what = f"cannot be written: {getattr(error, 'strerror', None) or error}."
        raise MultinodeError(ExitCode.USAGE, what, where=repr(str(folder))[1:-1]) from error
    return [folder / name for name in files]


def _may_be_replaced(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    report = folder / REPORT
    if not report.is_file():
        return False
    with report.open(encoding="utf-8", errors="replace") as file:
        return file.readline() == MARKER


def _fill(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(MARKER + text if name == REPORT else text, encoding="utf-8")
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)


def _swap(beside: Path, folder: Path) -> None:
    if not folder.exists():
        beside.rename(folder)
        return
    old = beside.with_name(f"{beside.name}.old")
    folder.rename(old)
    try:
        beside.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)

"""The files that a command writes, such as a record or a benchmark, and reading them again."""

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.faults import first_fault
from vllm_multinode.k8s.parser import read_text
from vllm_multinode.k8s.pipes import open_file

T = TypeVar("T", bound=BaseModel)


def read_back(kind: type[T], data: str, noun: str, *, where: str, hint: str) -> T:
    """An object of a kind from the JSON of its file.

    Args:
        kind: what the file holds.
        data: the file's text.
        noun: how messages call it, such as "record".
        where: the file, for messages.
        hint: how such a file is written.

    Raises:
        MultinodeError: USAGE: it is not of this kind, with the place of the first mistake.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        fault = first_fault(error)
        what = (
            f"is not a {noun} of this format: {fault}."
            if fault.place
            else f"is not a {noun}: it is not JSON."
        )
        raise MultinodeError(ExitCode.USAGE, what, where=where, hint=hint) from error


def text_of(path: Path) -> str:
    """The text of such a file, read with the bounds that manifests have.

    Raises:
        MultinodeError: MANIFEST: it cannot be read, is not text, or is too large.
    """
    try:
        with open_file(path) as file:
            return read_text(file, str(path))
    except OSError as error:
        reason = error.strerror or str(error)
        raise MultinodeError(ExitCode.MANIFEST, f"cannot be read: {reason}.", where=str(path)) from error


def replace_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file whole, or leave what is there as it is.

    Args:
        path: of the file.
        data: its content.
        mode: of a file that is not there yet, before the umask.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.touch(mode=mode)
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """The same for a file that a user has named.

    Raises:
        MultinodeError: NOT_WRITABLE.
    """
    try:
        replace_whole(path, data, mode)
    except OSError as error:
        what = f"cannot be written: {error.strerror}."
        raise MultinodeError(ExitCode.NOT_WRITABLE, what, where=str(path)) from error

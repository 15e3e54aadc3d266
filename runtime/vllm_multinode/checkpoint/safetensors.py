"""The header of a safetensors file: which tensors it holds, and how long the file must be.

Such a file is eight bytes of little-endian header length, the header (JSON: tensor name -> dtype, shape,
data_offsets), then the tensors: its length is therefore 8 + header length + the largest end of data_offsets.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_multinode.contract.bounded import open_file
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

PREFIX = 8
"""Bytes before the header, which hold its length."""

# The safetensors library rejects longer headers.
_LONGEST = 100_000_000
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a checkpoint.

    Attributes:
        name: as the file has it.
        shape: as stored.
        bytes: as stored.
    """

    name: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one file.

    Attributes:
        path: of the file, for messages.
        entries: tensor name -> dtype, shape and data_offsets.
        digest: SHA-256 of the header, hexadecimal.
        file_bytes: length that the whole file must have.
    """

    path: Path | str
    entries: Mapping[str, Any]
    digest: str
    file_bytes: int

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor, in the header's order.

        Raises:
            MultinodeError: SHARD_TRUNCATED, where one has no shape or no offsets.
        """
        for name, entry in self.entries.items():
            try:
                start, end = entry["data_offsets"]
                tensor = Tensor(name, tuple(int(side) for side in entry["shape"]), int(end) - int(start))
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise damaged(self.path, f"tensor {name} has no shape or no offsets.") from error
            if tensor.bytes < 0:
                raise damaged(self.path, f"tensor {name} ends before it begins.")
            yield tensor


def read_header(path: Path) -> Header:
    """Read the header of a file and hold the file's length against it.

    Raises:
        MultinodeError: SHARD_ABSENT where it cannot be read; SHARD_TRUNCATED where it has no such header, or
            another length than its header says.
    """
    try:
        with open_file(path) as file:
            length = file.seek(0, 2)
            file.seek(0)
            start = file.read(max(PREFIX, len(_LFS_POINTER)))
            header_length = header_bytes(path, start, length)
            file.seek(PREFIX)
            content = file.read(header_length)
    except OSError as error:
        raise unreadable(path, error) from error
    header = parse_header(path, content)
    if length != header.file_bytes:
        raise damaged(path, f"its header says {header.file_bytes} bytes, the file has {length}.")
    return header


def header_bytes(path: Path | str, start: bytes, length: int) -> int:
    """The header's length, refused where no safetensors file could have it.

    Args:
        path: of the file, for messages.
        start: its first bytes, eight at least.
        length: of the whole file.

    Raises:
        MultinodeError: SHARD_TRUNCATED.
    """
    if start.startswith(_LFS_POINTER):
        hint = "Fetch the weights themselves: git lfs pull."
        raise damaged(path, "the file is a Git LFS pointer, not the weights.", hint)
    if len(start) < PREFIX:
        raise damaged(path, f"its header should begin with eight bytes, the file has {length}.")
    header_length = int.from_bytes(start[:PREFIX], "little")
    if header_length > _LONGEST:
        raise damaged(path, "this is not a safetensors file: it does not begin with a header length.")
    if PREFIX + header_length > length:
        what = f"its header alone says {PREFIX + header_length} bytes, the file has {length}."
        raise damaged(path, what)
    return header_length


def parse_header(path: Path | str, header: bytes) -> Header:
    """Parse a header without its length.

    Raises:
        MultinodeError: SHARD_TRUNCATED, where it is not one.
    """
    try:
        entries: dict[str, Any] = json.loads(header)
        entries.pop("__metadata__", None)
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise damaged(path, "its header is not that of a safetensors file.") from error
    return Header(path, entries, hashlib.sha256(header).hexdigest(), PREFIX + len(header) + end)


def damaged(path: Path | str, what: str, hint: str = "Copy this file again.") -> MultinodeError:
    """The error of a weight file that is not whole."""
    return MultinodeError(ExitCode.SHARD_TRUNCATED, what, where=str(path), hint=hint)


def unreadable(path: Path, error: OSError) -> MultinodeError:
    """The error of a weight file that cannot be read."""
    what = f"the weight file cannot be read: {error.strerror or error}."
    hint = "Check the copy of the model and its permissions."
    return MultinodeError(ExitCode.SHARD_ABSENT, what, where=str(path), hint=hint)

"""Whether a source holds a model that vLLM loads, by its list of files or by the names in its layers."""

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

from vllm_multinode.checkpoint.config import CONFIG
from vllm_multinode.checkpoint.kinds import WEIGHTS, refuse_kind
from vllm_multinode.checkpoint.model_directory import PARAMS
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.listed_size import listed
from vllm_multinode.storage.sources.bounded import within
from vllm_multinode.storage.sources.layers import BROKEN, Header, below_models
from vllm_multinode.storage.sources.source import Item, Listing, PassingError, Source, is_model_file

_MOST_READ: Final = 64 << 20
"""Bytes of an image's layers that are read; a layer with a model names one of its files at its beginning."""


def check_model(address: str, environment: Mapping[str, str], longest: float) -> None:
    """Refuse a source that holds no model; the Job that fetches it would end with the same code.

    Args:
        address: see `listed_size`.
        environment: with what the source asks for, as HF_TOKEN.
        longest: seconds that its list may take, and again what is read of an image.

    Raises:
        MultinodeError: as `listed_size`; MODEL_CONFIG where there are files, and no model among them.
    """
    source, listing = listed(address, environment, longest)
    if listing.unpack is None:
        _check_names(source.name, listing.items)
        return
    try:
        holds = within(longest, lambda: _holds_models(source, listing), "the image")
    except PassingError:
        # The Job has more time.
        return
    if not holds:
        what = f"none of the image's {len(listing.items)} layers has a file below /models."
        hint = "Push an image with the model in /models."
        raise MultinodeError(ExitCode.MODEL_MISSING, what, where=source.name, hint=hint)


def _check_names(address: str, items: Iterable[Item]) -> None:
    names = {item.name for item in items}
    refuse_kind(names, address, "source")
    if not names & {CONFIG, PARAMS}:
        what = f"there is no {CONFIG} among its {len(names)} files."
        raise MultinodeError(ExitCode.MODEL_CONFIG, what, where=address, hint=_deeper(address, names))
    if not any(name.endswith(WEIGHTS) and "/" not in name for name in names):
        what = f"there are no weights ({', '.join(WEIGHTS)}) among its {len(names)} files."
        hint = "Use the repository or folder with the weights in safetensors."
        raise MultinodeError(ExitCode.SHARD_ABSENT, what, where=address, hint=hint)


def _deeper(address: str, names: Iterable[str]) -> str:
    """Where the model is, should it be a folder or more below."""
    paths = (PurePosixPath(name) for name in sorted(names))
    folders = [path.parent.as_posix() for path in paths if path.name == CONFIG]
    if not folders:
        return "Check that this is the address of a model's own files."
    if address.startswith("s3://"):
        return f"There is one below: use {address}/{folders[0]}."
    return f"There is one in its folder {folders[0]}; vLLM needs the model's files at the top."


def _holds_models(source: Source, listing: Listing) -> bool:
    """Whether a layer has a file of a model; also where that takes more than the bound to tell."""
    left = _MOST_READ
    # The model's layers are above those of the base image.
    for item in reversed(listing.items):
        pieces = _Pieces(source.read(item, 0)[1], left)
        try:
            with tarfile.open(fileobj=pieces, mode="r|*", tarinfo=Header) as archive:
                for member in archive:
                    name = below_models(member.name)
                    if name is not None and member.isfile() and is_model_file(name):
                        return True
                    # The archive keeps every member that it has passed.
                    archive.members = []  # type: ignore[attr-defined]
        except (_EnoughError, *BROKEN):
            # Too long, packed by zstandard, or broken: the Job tells which.
            return True
        left = pieces.left
    return False


class _EnoughError(Exception):
    """More is not read."""


class _Pieces(io.RawIOBase):
    """What comes from a source, as a file of at most so many bytes."""

    def __init__(self, pieces: Iterator[bytes], most: int) -> None:
        self.left = most
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: "memoryview[int] | bytearray") -> int:  # type: ignore[override]
        """Fill the buffer, or a part of it; nothing at the end."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
            self.left -= len(self._rest)
            if self.left < 0:
                raise _EnoughError
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

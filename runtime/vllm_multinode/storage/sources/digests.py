"""Checksums as the sources give them, computed while the bytes pass."""

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

Algorithm = Literal["sha256", "git-sha1", "md5", "md5-parts"]


@dataclass(frozen=True, slots=True)
class Digest:
    """What a content must have.

    Attributes:
        algorithm: "git-sha1" is git's blob id, over "blob <size>" and a zero byte before the content;
            "md5-parts" the ETag of an object that was uploaded in parts: MD5 over the MD5 of each part.
        value: hexadecimal; of "md5-parts" without the number of parts behind it.
        part: bytes of a part, for "md5-parts".
    """

    algorithm: Algorithm
    value: str
    part: int = 0

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


class Running(Protocol):
    """A checksum under way."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """The checksum of all bytes so far."""


def running(digest: Digest | None, size: int) -> Running:
    """Begin the checksum of a content of `size` bytes; without a digest, one that costs nothing."""
    if digest is None:
        return _Nothing()
    if digest.algorithm == "sha256":
        return hashlib.sha256()
    if digest.algorithm == "git-sha1":
        return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    if digest.algorithm == "md5":
        return hashlib.md5(usedforsecurity=False)
    return _Parts(digest.part)


class _Nothing:
    def update(self, data: bytes, /) -> None:
        """Take bytes."""

    def hexdigest(self) -> str:
        """Of nothing."""
        return ""


class _Parts:
    """S3's ETag of an object uploaded in parts of one size."""

    def __init__(self, part: int) -> None:
        self._size = part
        self._whole = hashlib.md5(usedforsecurity=False)
        self._part = hashlib.md5(usedforsecurity=False)
        self._left = part

    def update(self, data: bytes, /) -> None:
        """Take the next bytes, over the ends of parts."""
        view = memoryview(data)
        while len(view) >= self._left:
            self._part.update(view[: self._left])
            self._whole.update(self._part.digest())
            view = view[self._left :]
            self._part = hashlib.md5(usedforsecurity=False)
            self._left = self._size
        self._part.update(view)
        self._left -= len(view)

    def hexdigest(self) -> str:
        """Close the last part, which may be shorter."""
        whole = self._whole.copy()
        if self._left != self._size:
            whole.update(self._part.digest())
        return whole.hexdigest()

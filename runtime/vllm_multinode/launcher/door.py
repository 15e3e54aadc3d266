"""The page of memory by which the head's supervisor opens and closes vLLM's API to new requests.

The supervisor writes the command and its reason; the middleware in the API server (`launcher.middleware`)
writes how many requests are under way. It is a small file that both have mapped: nothing is asked, and no
request takes another way than without it.
"""

import asyncio
import mmap
import os
import struct
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

__all__ = ["MIDDLEWARE", "VARIABLE", "Command", "Door"]

VARIABLE: Final = "MULTINODE_DOOR"
"""Tells the API server where the page is."""
MIDDLEWARE: Final = "vllm_multinode.launcher.middleware.RequestDoor"
"""For vLLM's --middleware."""

_SIZE: Final = mmap.PAGESIZE
_NUMBER: Final = struct.Struct("<q")
# Offsets of the numbers, of eight bytes each, and of the reason.
_COMMAND, _RETRY_AFTER, _ATTACHED, _UNDER_WAY, _REFUSED, _CUT = range(0, 48, 8)
_REASON: Final = 64
_LONGEST_REASON: Final = 1024
_POLL: Final = 0.02


class Command(IntEnum):
    """What the API server does with requests."""

    OPEN = 0
    CLOSED = 1
    """New ones are rejected; those under way go on."""
    CUT = 2
    """Those under way end with an error as well."""


class Door:
    """The mapped page, from either side.

    Args:
        path: of its file, which exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _SIZE)

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new page in a folder, open and with nobody attached.

        Raises:
            OSError: the folder cannot be written to.
        """
        # By this process's number, so that a container that starts again replaces what it has left.
        path = folder / f"multinode-door-{os.getpid()}"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        return cls(path)

    def remove(self) -> None:
        """Unmap the page and remove its file."""
        self._page.close()
        self.path.unlink(missing_ok=True)

    def _get(self, offset: int) -> int:
        return int(_NUMBER.unpack_from(self._page, offset)[0])

    def _set(self, offset: int, value: int) -> None:
        _NUMBER.pack_into(self._page, offset, value)

    @property
    def command(self) -> Command:
        """What the supervisor wants."""
        return Command(self._get(_COMMAND))

    @property
    def reason(self) -> str:
        """Why requests are rejected or ended, for clients."""
        text = self._page[_REASON : _REASON + _LONGEST_REASON]
        return text.partition(b"\0")[0].decode(errors="ignore")

    @property
    def retry_after(self) -> int:
        """Seconds after which a client should try again."""
        return self._get(_RETRY_AFTER)

    @property
    def attached(self) -> bool:
        """An API server has the page mapped."""
        return self._get(_ATTACHED) > 0

    @property
    def under_way(self) -> int:
        """Requests that the API server has taken and not answered to their end."""
        return self._get(_UNDER_WAY)

    @property
    def refused(self) -> int:
        """Requests that were rejected."""
        return self._get(_REFUSED)

    @property
    def cut(self) -> int:
        """Requests that were ended with an error."""
        return self._get(_CUT)

    def order(self, command: Command, reason: str, retry_after: int) -> None:
        """The supervisor's side: reject new requests, or end those under way as well.

        Args:
            command: what is to happen; it takes effect with the next request, and within a moment.
            reason: for clients.
            retry_after: seconds.
        """
        text = reason.encode()[: _LONGEST_REASON - 1]
        self._page[_REASON : _REASON + _LONGEST_REASON] = text.ljust(_LONGEST_REASON, b"\0")
        self._set(_RETRY_AFTER, retry_after)
        self._set(_COMMAND, command)

    def attach(self) -> None:
        """The API server's side: it looks at the page from now on."""
        self._set(_UNDER_WAY, 0)
        self._set(_ATTACHED, os.getpid())

    def count(self, *, under_way: int = 0, refused: int = 0, cut: int = 0) -> None:
        """The API server's side: add to its counts. Only its event loop may call it."""
        for offset, more in ((_UNDER_WAY, under_way), (_REFUSED, refused), (_CUT, cut)):
            if more:
                self._set(offset, self._get(offset) + more)

    async def empty(self, seconds: float) -> bool:
        """Wait until no request is under way, at most so long; tells whether that is so."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.under_way > 0:
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_POLL)
        return True

"""File descriptors kept back, so that a supervisor whose table is full can still see and end its engine."""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from typing import Final

log = logging.getLogger(__name__)

_KEPT: Final = 8
_FULL: Final = (errno.EMFILE, errno.ENFILE)


class Reserve:
    """A few open descriptors that can be given up for a moment.

    Args:
        kept: how many.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._wanted = kept
        self._open: list[int] = []
        self._fill()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Give them up for as long as the block runs, where the table is full."""
        if not _full():
            yield
            return
        log.warning("the table of open files is full: using the descriptors that were kept back")
        self.close()
        try:
            yield
        finally:
            self._fill()

    def close(self) -> None:
        """Give them up."""
        while self._open:
            os.close(self._open.pop())

    def _fill(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._open) < self._wanted:
                self._open.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _full() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in _FULL
    return False

"""Files to read as a user names them: a pipe that nobody writes to is not waited for."""

import errno
import io
import os
import select
import stat
import time
from pathlib import Path
from typing import BinaryIO, Final

from vllm_multinode.k8s.parser import LARGEST_FILE

_NO_WRITER: Final = 3.0
_NO_BYTE: Final = 60.0
"""Seconds without a byte from a program that has opened the other end, such as in <(kustomize build)."""
_LONGEST: Final = 120.0
"""Seconds until its end, however it drips."""


def open_file(path: Path) -> BinaryIO:
    """Open a file to read; of a pipe the content is read at once, each part within a bound.

    Raises:
        OSError: it cannot be opened, is a device or a socket, or is a pipe that gives nothing.
    """
    mode = path.stat().st_mode
    if stat.S_ISFIFO(mode):
        return io.BytesIO(_content(path))
    # Terminals and /dev/null are read as they are.
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return path.open("rb")


def _content(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        content = bytearray()
        until = time.monotonic() + _NO_WRITER
        opened = False
        last = time.monotonic() + _LONGEST
        while len(content) <= LARGEST_FILE:
            try:
                piece = os.read(descriptor, 1 << 16)
            except BlockingIOError:
                # Somebody has opened the other end, and writes nothing yet.
                if not opened:
                    opened, until = True, time.monotonic() + _NO_BYTE
                piece = None
            if time.monotonic() >= last:
                raise OSError(
                    errno.ETIMEDOUT, f"it is a pipe that did not end within {_LONGEST:.0f} s", str(path)
                )
            if piece:
                content += piece
                opened, until = True, time.monotonic() + _NO_BYTE
            elif piece == b"" and opened:
                return bytes(content)
            elif time.monotonic() >= until:
                raise OSError(errno.ETIMEDOUT, "it is a pipe, and nobody writes to it", str(path))
            else:
                select.select([descriptor], [], [], 0.05)
                if piece == b"":
                    time.sleep(0.05)
        return bytes(content)
    finally:
        os.close(descriptor)

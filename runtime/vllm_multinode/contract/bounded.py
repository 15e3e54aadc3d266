"""Bounds for what has none of its own: an answer that drips byte by byte, a file that is a pipe."""

import errno
import os
import queue
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

Answer = TypeVar("Answer")


def within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """Call in another thread, and wait for the answer for so many seconds at the most.

    A thread whose wait has ended is left behind: it ends when its socket does, or with the process.

    Raises:
        TimeoutError: there was no answer in time.
        Exception: what `ask` raises.
    """
    answers: queue.SimpleQueue[tuple[Answer | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that waits
            answers.put((None, error))

    threading.Thread(target=run, name="ask", daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.0f} s") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]


def open_file(path: Path) -> BinaryIO:
    """Open a file that somebody else has named, to be read.

    Raises:
        OSError: it cannot be opened, or is no file: a pipe would be waited for, and a device never ends.
    """
    # Without O_NONBLOCK, to open a pipe waits for somebody who writes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) or os.path.samestat(status, Path(os.devnull).stat()):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is not a file", str(path))


def read_bounded(path: Path, most: int) -> bytes:
    """Read a file as `open_file` opens it, and no more than it may hold.

    Args:
        path: of a file, or /dev/null.
        most: bytes that it may hold.

    Raises:
        OSError: it cannot be read, is no file, or holds more.
    """
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it holds more than {most} bytes", str(path))
    return content

"""Waits with a bound for libraries that have none: their timeouts begin again with every byte that comes.

What is waited for runs in a thread of its own. A thread whose wait has ended is left behind: it ends when its
socket does, and holds nothing that another needs.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Final, TypeVar, cast

from vllm_multinode.storage.sources.source import PassingError

T = TypeVar("T")

STALL: Final = 30.0
"""Seconds of waiting; a source that gives fewer than LEAST bytes in them counts as one that gives nothing."""
LEAST: Final = 1 << 18
_LOOK: Final = 0.5

_Waiting = queue.Queue[bytes | BaseException | None]


def within(seconds: float, call: Callable[[], T], what: str) -> T:
    """What a call returns, if it does so in time.

    Args:
        seconds: that it may take.
        call: runs in another thread, which is left behind where it takes longer: a server that sends a byte
            now and then keeps every read alive.
        what: is not complete then, for the message.

    Raises:
        PassingError: it took longer.
        Exception: what the call raises.
    """
    answers: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue()

    def ask() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:  # noqa: BLE001 - raised again where the answer is waited for
            answers.put((None, error))

    threading.Thread(target=ask, name="ask", daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise PassingError(f"{what} is not complete after {seconds:g} s") from None
    if error is not None:
        raise error
    return cast("T", answer)


def paced(pieces: Iterator[bytes], who: str, cut: Callable[[], None] | None = None) -> Generator[bytes]:
    """The same pieces, as long as LEAST bytes, or the end, come within STALL seconds of waiting.

    Args:
        pieces: read in another thread, which closes them as well: to close what another thread reads may
            wait for as long as that reads.
        who: they come from, for the message.
        cut: breaks the connection, so that the other thread ends; called when nobody reads any more.

    Raises:
        PassingError: they did not come in time, however many pieces they came in.
        Exception: what `pieces` raises.
    """
    waiting: _Waiting = queue.Queue(maxsize=2)
    ended = threading.Event()
    threading.Thread(target=_read, args=(pieces, waiting, ended), name="read", daemon=True).start()
    left, came = STALL, 0
    try:
        while True:
            since = time.monotonic()
            try:
                piece = waiting.get(timeout=max(left, 0))
            except queue.Empty:
                raise PassingError(f"{who} gave nothing to speak of for {STALL:.0f} s") from None
            left -= time.monotonic() - since
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
            came += len(piece)
            if came >= LEAST:
                left, came = STALL, 0
            yield piece
    finally:
        ended.set()
        if cut is not None:
            cut()


def _read(pieces: Iterator[bytes], waiting: _Waiting, ended: threading.Event) -> None:
    """Put every piece in the queue, then None, or the error that came instead."""
    try:
        for piece in pieces:
            if not _put(piece, waiting, ended):
                return
        _put(None, waiting, ended)
    except BaseException as error:  # noqa: BLE001 - handed over to the thread that waits
        _put(error, waiting, ended)
    finally:
        if isinstance(pieces, Generator):
            pieces.close()


def _put(piece: bytes | BaseException | None, waiting: _Waiting, ended: threading.Event) -> bool:
    """Wait for room in the queue; False where nobody reads any more."""
    while not ended.is_set():
        with suppress(queue.Full):
            waiting.put(piece, timeout=_LOOK)
            return True
    return False


def whole(pieces: Iterator[bytes], most: int) -> bytes | None:
    """All pieces together; None where they are more than `most` bytes."""
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) > most:
            return None
    return bytes(content)

"""A bound for a call that has none of its own, such as a request whose answer drips byte by byte."""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

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

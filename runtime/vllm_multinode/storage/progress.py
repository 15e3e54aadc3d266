"""One line every so often, as a Job's log wants it."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from vllm_multinode.storage.claim import GIB

log = logging.getLogger(__name__)


class Progress:
    """Counts bytes from any thread, and logs them while the block runs.

    Args:
        total: bytes of everything.
        have: bytes that were there before.
        every: seconds between two lines.
    """

    def __init__(self, total: int, have: int, every: float) -> None:
        self._total = total
        self._have = have
        self._every = every
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._log, name="progress", daemon=True)

    def tell(self, number: int) -> None:
        """Count bytes; negative ones are to come again."""
        with self._lock:
            self._have += number

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _log(self) -> None:
        before, at = self._have, time.monotonic()
        while not self._done.wait(self._every):
            have, now = self._have, time.monotonic()
            log.info("%s", line(have, self._total, (have - before) / (now - at)))
            before, at = have, now


def line(have: int, total: int, rate: float) -> str:
    """How far it is: bytes there, bytes in all, bytes a second."""
    part = 100 * have // total if total else 100
    text = f"{have / GIB:.1f} of {total / GIB:.1f} GiB ({part} %), {max(rate, 0) / (1 << 20):.0f} MiB/s"
    if rate <= 0 or have >= total:
        return text
    left = (total - have) / rate
    return f"{text}, {left / 60:.0f} min left" if left >= 90 else f"{text}, {left:.0f} s left"

"""From a supervisor's start to its end: signals, what runs in the background, and what ends it."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from vllm_multinode.contract.errors import MultinodeError

log = logging.getLogger(__name__)


class Lifetime:
    """Ends when SIGTERM or SIGINT asks for it, or when a task in the background fails."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)

    def _asked_to_stop(self, number: int) -> None:
        log.info("%s: stopping", signal.Signals(number).name)
        self._stop.set()

    @staticmethod
    def now() -> float:
        """The loop's clock, seconds."""
        return asyncio.get_running_loop().time()

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run until done or until the supervisor ends, which a failure brings about."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._stop.set()

    def fail(self, error: MultinodeError) -> None:
        """End the supervisor with an error."""
        self._failure = error
        self._stop.set()

    async def end_background(self) -> None:
        """Cancel what runs in the background."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until it ends or a signal asks to stop; its exceptions are raised."""
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            self.raise_failure()
        finally:
            for one in (task, stop):
                one.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    def raise_failure(self) -> None:
        """Raise what ended a background task."""
        if self._failure is not None:
            raise self._failure

    @property
    def stopping(self) -> bool:
        """A signal has asked to stop."""
        return self._stop.is_set()

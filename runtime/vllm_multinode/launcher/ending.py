"""How requests end before the engine does: in their own time, or with an error that says why."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from vllm_multinode.launcher.door import Command, Door
from vllm_multinode.launcher.engine_api import EngineApi

log = logging.getLogger(__name__)

_CUT: Final = 1.0
"""Seconds that the API server has to tell its clients that their streams end."""
_POLL: Final = 0.25


class Requests:
    """Those of one engine's API server.

    Args:
        folder: where the page goes that the API server is told by; None where it cannot load our middleware.
        api: of the engine, which is asked where the page is of no use.
        limit: seconds that requests under way get to end.
    """

    def __init__(self, folder: Path | None, api: Callable[[], EngineApi], limit: float) -> None:
        self._api = api
        self._limit = limit
        self._deadline: float | None = None
        self._door: Door | None = None
        if folder is not None:
            try:
                self._door = Door.create(folder)
            except OSError as error:
                log.warning("streams will break off without an error: %s", error)

    @property
    def page(self) -> Path | None:
        """For the API server."""
        return self._door.path if self._door is not None else None

    @property
    def under_way(self) -> int:
        """As far as it is counted."""
        return self._door.under_way if self._door is not None else 0

    async def finish(self, reason: str, retry_after: float, broken: Awaitable[str]) -> None:
        """Refuse new requests, and wait for those under way; what is left of them at the end is cut.

        A second call goes on with the time that the first one has left.

        Args:
            reason: for clients.
            retry_after: seconds after which they should try again.
            broken: done when the engine cannot answer any more; says why.
        """
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._limit
        waiting = asyncio.ensure_future(self._idle(reason, retry_after, self._deadline - now))
        broke = asyncio.ensure_future(broken)
        try:
            await asyncio.wait((waiting, broke), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done() and waiting.result():
                return
            why = f"{reason}; {broke.result()}" if broke.done() else f"{reason}; its time is up"
        finally:
            for task in (waiting, broke):
                task.cancel()
            await asyncio.gather(waiting, broke, return_exceptions=True)
        if self.under_way:
            log.warning("%d requests are ended with an error: %s", self.under_way, why)
        await self.cut(why, retry_after)

    async def _idle(self, reason: str, retry_after: float, seconds: float) -> bool:
        """Wait until nothing is under way; tells whether that is so in the end."""
        door = self._door
        if door is not None and door.attached:
            door.order(Command.CLOSED, reason, round(retry_after))
            return await door.empty(seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)), self._api() as api:
                while (sample := await api.sample()) and sample.busy:
                    await asyncio.sleep(_POLL)
                return True
        return False

    async def cut(self, reason: str, retry_after: float) -> None:
        """End what is under way with an error, where somebody is left to say it."""
        door = self._door
        if door is None or not door.attached:
            return
        door.order(Command.CUT, reason, round(retry_after))
        if door.under_way and not await door.empty(_CUT):
            log.warning("%d requests break off: the API server does not end them", door.under_way)

    def close(self) -> None:
        """Remove the page; the API server is gone."""
        if self._door is not None:
            self._door.remove()
            self._door = None

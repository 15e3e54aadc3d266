"""Tells the members of a group each change of the head's state."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

_TOGETHER: Final = 0.05
"""Seconds in which changes are gathered before the members are told."""
_SHARE: Final = 0.1
"""Of the loop's time that telling them may take."""
_TOGETHER_AT_MOST: Final = 1.0


class Announcements:
    """Changes that follow each other closely, as when many members join, are one message.

    Args:
        announce: tells every member the state as it is now.
        in_background: runs what is given to it until it is done.
    """

    def __init__(
        self,
        announce: Callable[[], Awaitable[None]],
        in_background: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._announce = announce
        self._in_background = in_background
        self._pending = False
        self._together = _TOGETHER

    def soon(self) -> None:
        """The state has changed."""
        if not self._pending:
            self._pending = True
            self._in_background(self._gather())

    async def _gather(self) -> None:
        await asyncio.sleep(self._together)
        self._pending = False
        now = asyncio.get_running_loop().time
        began = now()
        await self._announce()
        # The more members there are, the longer it takes, and the less often they are told.
        self._together = min(max(_TOGETHER, (now() - began) / _SHARE), _TOGETHER_AT_MOST)

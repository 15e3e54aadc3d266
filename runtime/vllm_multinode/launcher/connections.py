"""Bounds on who may hold a connection to a supervisor's port, so that nobody from outside can hold it up.

Every request here is answered from memory within milliseconds. A connection that is not a member's therefore
has a few seconds in all, and there are at most so many of them: where one more comes, the oldest goes.
"""

import asyncio
import resource
from typing import Final, Protocol

_LIFETIME: Final = 10.0
_PER_ADDRESS: Final = 256
_IN_ALL: Final = 1024
# Of the file descriptors, for connections that are not members'; the engine, /proc and files need the others.
_SHARE_OF_FILES: Final = 0.5


class Ends(Protocol):
    """A connection, by whatever holds it now: `launcher.front`, or a transport of asyncio's."""

    def abort(self) -> None:
        """End it at once."""


class Connections:
    """The connections of one port.

    Attributes:
        in_all, per_address: connections at a time.
        waiting: requests at a time that wait for their turn (`launcher.front`).
        ended_total: connections that had to go.

    Args:
        places: members that may come at the same time, possibly all from one address.
        files: file descriptors of this process; None asks for its limit.
        lifetime: seconds that a connection has which is not a member's.
    """

    def __init__(self, places: int = 1, files: int | None = None, lifetime: float = _LIFETIME) -> None:
        limit = files if files is not None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = limit if limit >= 0 else 1 << 20
        self.in_all = max(16, min(_IN_ALL + 2 * places, int(room * _SHARE_OF_FILES) - places))
        self.per_address = min(_PER_ADDRESS + 2 * places, self.in_all)
        self.waiting = self.per_address
        self.ended_total = 0
        self._lifetime = lifetime
        # Both in the order in which they came.
        self._passing: dict[Ends, tuple[float, str]] = {}
        self._by_address: dict[str, dict[Ends, None]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def add(self, held: Ends, address: str) -> None:
        """One more has come; the oldest goes where there are too many."""
        of_address = self._by_address.get(address, {})
        if len(of_address) >= self.per_address:
            self.end(next(iter(of_address)))
        elif len(self._passing) >= self.in_all:
            self.end_oldest()
        loop = asyncio.get_running_loop()
        self._passing[held] = (loop.time() + self._lifetime, address)
        self._by_address.setdefault(address, {})[held] = None
        self._sweep_soon()

    def hand_over(self, before: Ends, after: Ends) -> bool:
        """Another object holds the connection from now on, for the time that it has left.

        Returns:
            Whether it still had a place.
        """
        passing = self._passing.pop(before, None)
        if passing is None:
            return False
        self._passing[after] = passing
        of_address = self._by_address[passing[1]]
        del of_address[before]
        of_address[after] = None
        return True

    def keep(self, held: Ends | None) -> None:
        """It is a member's, which heartbeats look after, or it is gone."""
        passing = self._passing.pop(held, None) if held is not None else None
        if held is not None and passing is not None:
            _, address = passing
            del self._by_address[address][held]
            if not self._by_address[address]:
                del self._by_address[address]

    def end(self, held: Ends) -> None:
        """It has to go."""
        self.ended_total += 1
        self.keep(held)
        held.abort()

    def end_oldest(self) -> None:
        """One has to go, whichever came first."""
        if self._passing:
            self.end(next(iter(self._passing)))

    def _sweep_soon(self) -> None:
        if self._sweep is None and self._passing:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(min(self._lifetime / 4, 1), self._end_expired)

    def _end_expired(self) -> None:
        self._sweep = None
        now = asyncio.get_running_loop().time()
        for held in [held for held, (deadline, _) in self._passing.items() if deadline <= now]:
            self.end(held)
        self._sweep_soon()

    def close(self) -> None:
        """No sweep any more; what aiohttp does not know of yet is ended, the rest is its own."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for held in list(self._passing):
            self.keep(held)
            if not isinstance(held, asyncio.Transport):
                held.abort()

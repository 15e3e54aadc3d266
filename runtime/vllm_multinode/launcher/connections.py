"""Bounds on who may hold a connection to a supervisor's port, so that nobody from outside can hold it up.

Every request here is answered from memory within milliseconds. A connection that is not a member's therefore
has a few seconds in all, and there are at most so many of them: where one more comes, the oldest goes.
"""

import asyncio
import resource
from typing import Final

_LIFETIME: Final = 10.0
_PER_ADDRESS: Final = 256
_IN_ALL: Final = 1024
# Of the file descriptors, for connections that are not members'; the engine, /proc and files need the others.
_SHARE_OF_FILES: Final = 0.5


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
        self._passing: dict[asyncio.BaseTransport, tuple[float, str]] = {}
        self._by_address: dict[str, dict[asyncio.BaseTransport, None]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def add(self, transport: asyncio.Transport) -> None:
        """One more has come; the oldest goes where there are too many."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        loop = asyncio.get_running_loop()
        of_address = self._by_address.get(address, {})
        if len(of_address) >= self.per_address:
            self.end(next(iter(of_address)))
        elif len(self._passing) >= self.in_all:
            self.end(next(iter(self._passing)))
        self._passing[transport] = (loop.time() + self._lifetime, address)
        self._by_address.setdefault(address, {})[transport] = None
        if self._sweep is None:
            self._sweep = loop.call_later(self._lifetime, self._end_expired)

    def keep(self, transport: asyncio.BaseTransport | None) -> None:
        """It is a member's, which heartbeats look after, or it is gone."""
        if transport is None:
            return
        found = self._passing.pop(transport, None)
        if found is not None:
            _, address = found
            del self._by_address[address][transport]
            if not self._by_address[address]:
                del self._by_address[address]

    def end(self, transport: asyncio.BaseTransport) -> None:
        """It has to go."""
        self.ended_total += 1
        self.keep(transport)
        if isinstance(transport, asyncio.Transport):
            transport.abort()

    def _end_expired(self) -> None:
        self._sweep = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._passing:
            transport, (deadline, _) = next(iter(self._passing.items()))
            if deadline > now:
                self._sweep = loop.call_at(deadline, self._end_expired)
                return
            self.end(transport)

    def close(self) -> None:
        """No sweep any more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

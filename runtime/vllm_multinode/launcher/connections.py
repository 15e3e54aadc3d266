"""Bounds on who may hold a connection to a supervisor's port, so that nobody from outside can hold it up.

Every request here is answered from memory within milliseconds. A connection that is not a member's therefore
has a few seconds in all, and there are at most so many of them: where one more comes, the oldest goes.
"""

import asyncio
import logging
import resource
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

log = logging.getLogger(__name__)

_LIFETIME: Final = 10.0
_PER_ADDRESS: Final = 256
_IN_ALL: Final = 1024
# Of the file descriptors, for connections that are not members'; the engine, /proc and files need the others.
_SHARE_OF_FILES: Final = 0.5


class Connections:
    """The connections of one port.

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
            self._end(next(iter(of_address)))
        elif len(self._passing) >= self.in_all:
            self._end(next(iter(self._passing)))
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

    def _end(self, transport: asyncio.BaseTransport) -> None:
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
            self._end(transport)

    def close(self) -> None:
        """No sweep any more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def protocols(self, server: web.Server, keep_alive: float) -> Callable[[], asyncio.Protocol]:
        """What asyncio makes for each connection that it has accepted."""
        loop = asyncio.get_running_loop()
        return lambda: _Bounded(self, server, loop=loop, access_log=None, keepalive_timeout=keep_alive)


class _Bounded(RequestHandler):
    """aiohttp's, with its connection counted."""

    __slots__ = ("_connections", "_counted")

    def __init__(self, connections: Connections, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._connections = connections
        self._counted: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._counted = transport
        if isinstance(transport, asyncio.Transport):
            self._connections.add(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.keep(self._counted)
        super().connection_lost(exc)

"""Reads the first request of a connection: a probe is answered at once, everything else waits for its turn.

Thousands of strangers may ask for a WebSocket at the same time, and each costs aiohttp most of a millisecond.
So it is handed a few in each turn of the loop, the oldest are let go where too many wait, and neither probes
nor heartbeats stand behind them.
"""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from vllm_multinode.launcher.connections import Connections

Probes = Mapping[str, Callable[[], tuple[int, str]]]
"""Status and text by path."""

_LONGEST_REQUEST: Final = 16 * 1024
_A_TURN: Final = 4
_KEEP_ALIVE: Final = 5.0
"""Seconds between two requests of one connection."""


class Front:
    """What stands before aiohttp on one port.

    Args:
        server: aiohttp's.
        probes: answered without it.
        connections: bounds who may hold one.
    """

    def __init__(self, server: web.Server, probes: Probes, connections: Connections) -> None:
        self._server = server
        self._probes = probes
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[_First, None] = {}
        self._scheduled = False

    def protocol(self) -> asyncio.Protocol:
        """What asyncio makes for each connection that it has accepted."""
        return _First(self, self._connections)

    def probe(self, head: bytes) -> bytes | None:
        """The answer to a probe, or None where the request is another one."""
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].decode("latin-1")
        asked = self._probes.get(path) if method == b"GET" else None
        if asked is None:
            return None
        status, text = asked()
        body = text.encode()
        said = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return said.encode() + body

    def wait(self, first: "_First") -> None:
        """It has a request for aiohttp."""
        if len(self._waiting) >= self._connections.waiting:
            oldest = next(iter(self._waiting))
            self.forget(oldest)
            oldest.abort()
        self._waiting[first] = None
        self._schedule()

    def forget(self, first: "_First") -> None:
        """Its connection is gone, or is being handed on."""
        self._waiting.pop(first, None)

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._hand_on)

    def _hand_on(self) -> None:
        self._scheduled = False
        for first in list(self._waiting)[:_A_TURN]:
            self.forget(first)
            first.hand_on(
                _Counted(
                    self._connections,
                    self._server,
                    loop=self._loop,
                    access_log=None,
                    keepalive_timeout=_KEEP_ALIVE,
                )
            )
        self._schedule()


class _First(asyncio.Protocol):
    """A connection until its first request is known."""

    def __init__(self, front: Front, connections: Connections) -> None:
        self._front = front
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._said = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._connections.add(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        # No request here has a body, so this much is never needed.
        if len(self._said) + len(data) > _LONGEST_REQUEST:
            self.abort()
            return
        self._said += data
        if b"\r\n\r\n" not in self._said:
            return
        answer = self._front.probe(self._said)
        if answer is not None:
            self._transport.write(answer)
            self._transport.close()
            return
        # More of it may come; aiohttp reads it.
        self._transport.pause_reading()
        self._front.wait(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._front.forget(self)
        self._connections.keep(self._transport)

    def abort(self) -> None:
        if self._transport is not None:
            self._connections.end(self._transport)

    def hand_on(self, handler: RequestHandler) -> None:
        """Let aiohttp have the connection, with what was read of it."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.set_protocol(handler)
        handler.connection_made(self._transport)
        handler.data_received(self._said)
        self._transport.resume_reading()


class _Counted(RequestHandler):
    """aiohttp's, with the end of its connection counted."""

    __slots__ = ("_connections", "_counted")

    def __init__(self, connections: Connections, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._connections = connections
        self._counted: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._counted = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.keep(self._counted)
        super().connection_lost(exc)

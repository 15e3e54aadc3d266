"""Accepts connections and reads the first request: a probe is answered at once, the rest waits for its turn.

Thousands of strangers may come at the same time. One who connects and says nothing costs no more than a
socket, without a transport of asyncio's, because whoever asks for a probe stands behind it in the kernel's
queue. One who asks for a WebSocket costs aiohttp most of a millisecond. So aiohttp is handed a few in each
turn of the loop, and the oldest are let go where too many wait.
"""

import asyncio
import contextlib
import logging
import re
import socket
import struct
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from vllm_multinode.launcher.connections import Connections

Probes = Mapping[str, Callable[[], tuple[int, str]]]
"""Status and text by path."""

log = logging.getLogger(__name__)

_LONGEST_REQUEST: Final = 16 * 1024
_END: Final = b"\r\n\r\n"
_BODY: Final = re.compile(rb"\r\n(?:transfer-encoding|content-length:[ \t]*0*[1-9])", re.IGNORECASE)
"""aiohttp would read one to its end, and unpack it, after it has answered."""
_A_TURN: Final = 4
"""Requests that aiohttp is handed in one turn of the loop."""
_ACCEPTED: Final = 128
"""Connections that are accepted in one."""
_PAUSE: Final = 0.1
"""Seconds without accepting, where a connection cannot be had."""
_COMPLAINTS_APART: Final = 10.0
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets the connection, and the kernel keeps nothing of it."""
_KEEP_ALIVE: Final = 5.0
"""Seconds between two requests of one connection."""


def _response(status: int, text: str) -> bytes:
    body = text.encode()
    said = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return said.encode() + body


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
        self._handed_on: set[asyncio.Task[None]] = set()
        self._listeners: set[socket.socket] = set()
        self._complained_at = -_COMPLAINTS_APART

    def listen(self, listener: socket.socket) -> None:
        """Accept what comes there, from now on."""
        self._listeners.add(listener)
        self._loop.add_reader(listener, self._accept, listener)

    def close(self) -> None:
        """Accept nothing any more."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()
        for task in self._handed_on:
            task.cancel()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED):
            try:
                connection, peer = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._cannot_accept(listener, error)
                return
            connection.setblocking(False)
            first = _First(self, connection, self._loop)
            self._connections.add(first, str(peer[0]))

    def _cannot_accept(self, listener: socket.socket, error: OSError) -> None:
        """The table of open files is full, of this process or of this machine."""
        now = self._loop.time()
        if now - self._complained_at >= _COMPLAINTS_APART:
            self._complained_at = now
            log.warning("no connection can be accepted: %s", error.strerror)
        self._connections.end_oldest()
        self._loop.remove_reader(listener)
        self._loop.call_later(_PAUSE, self._accept_again, listener)

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    def answer(self, head: bytes) -> bytes | None:
        """The answer to a probe or to a request with a body, or None where it is aiohttp's to answer."""
        if _BODY.search(head):
            return _response(400, "no request here has a body\n")
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].decode("latin-1")
        asked = self._probes.get(path) if method == b"GET" else None
        if asked is None:
            return None
        return _response(*asked())

    def wait(self, first: "_First") -> None:
        """It has a request for aiohttp."""
        if len(self._waiting) >= self._connections.waiting:
            self._connections.end(next(iter(self._waiting)))
        self._waiting[first] = None
        self._schedule()

    def gone(self, first: "_First") -> None:
        """Its connection has ended."""
        self._waiting.pop(first, None)
        self._connections.keep(first)

    def end(self, first: "_First") -> None:
        """It asks for what there is not."""
        self._connections.end(first)

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._hand_on)

    def _hand_on(self) -> None:
        self._scheduled = False
        for first in list(self._waiting)[:_A_TURN]:
            del self._waiting[first]
            task = self._loop.create_task(self._hand_over(first))
            self._handed_on.add(task)
            task.add_done_callback(self._handed_on.discard)
        self._schedule()

    async def _hand_over(self, first: "_First") -> None:
        handler = _Counted(
            first.said,
            self._connections,
            self._server,
            loop=self._loop,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE,
            auto_decompress=False,
        )
        if not self._connections.hand_over(first, handler):
            return
        try:
            await self._loop.connect_accepted_socket(lambda: handler, first.connection)
        except OSError:
            self._connections.keep(handler)
            first.connection.close()


class _First:
    """A connection until its first request is known."""

    __slots__ = ("_descriptor", "_front", "_loop", "connection", "said")

    def __init__(self, front: Front, connection: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._front = front
        self.connection = connection
        self._loop = loop
        self._descriptor = connection.fileno()
        self.said = b""
        loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            data = self.connection.recv(_LONGEST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.said += data
        if not data:
            self._close()
        elif len(self.said) > _LONGEST_REQUEST:
            # No request here has a body, so this much is never needed.
            self._front.end(self)
        elif _END in self.said:
            answer = self._front.answer(self.said)
            if answer is None:
                # More of it may come; aiohttp reads it.
                self._loop.remove_reader(self._descriptor)
                self._front.wait(self)
                return
            # Nothing was sent before, so all of it fits; where it does not, the peer is no kubelet.
            with contextlib.suppress(OSError):
                self.connection.send(answer)
            self._close()

    def _close(self) -> None:
        self._front.gone(self)
        self._loop.remove_reader(self._descriptor)
        self.connection.close()

    def abort(self) -> None:
        """End it at once; its address gets a reset."""
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._close()


class _Counted(RequestHandler):
    """aiohttp's, which begins with what was read already, and whose end is counted."""

    __slots__ = ("_connections", "_ended", "_said", "_transport")

    def __init__(self, said: bytes, connections: Connections, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._said = said
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._connections.hand_over(self, transport)
        if self._ended:
            self.abort()
        else:
            self.data_received(self._said)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.keep(self._transport)
        super().connection_lost(exc)

    def abort(self) -> None:
        """End it at once, also where asyncio has yet to make its transport."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

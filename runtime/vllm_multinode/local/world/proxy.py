"""Leads connections from this machine's loopback into the world.

A listening socket stays in the network namespace that it was made in, so the world's process can accept on
the runner's socket and connect to a pod.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT: Final = 5.0
_CHUNK: Final = 1 << 16

Target = Callable[[], tuple[str, int] | None]


class Proxy:
    """One listening socket, and the address behind it at the time of each connection."""

    def __init__(self, descriptor: int, target: Target) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._target = target
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Accept from now on."""
        self._socket.setblocking(False)
        self._server = await asyncio.start_server(self._serve, sock=self._socket)

    def close(self) -> None:
        """Accept no more; what is open ends with the process."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self._target()
        try:
            if target is None:
                _reset(writer)
                return
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                inner_reader, inner_writer = await asyncio.open_connection(*target)
        except OSError as error:  # a TimeoutError is one, too
            log.debug("no connection to %s: %s", target, error)
            _reset(writer)
        else:
            await self._join(reader, writer, inner_reader, inner_writer)
        finally:
            writer.transport.abort()

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        inner_reader: asyncio.StreamReader,
        inner_writer: asyncio.StreamWriter,
    ) -> None:
        try:
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        except OSError as error:
            log.debug("connection ended: %s", error)
            _reset(writer)
        finally:
            inner_writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Have the close be a reset, which is what a pod without a listener, or one that died, answers with."""
    client: socket.socket = writer.get_extra_info("socket")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of the stream, and pass the end on."""
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()

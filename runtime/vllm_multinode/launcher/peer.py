"""The head's end of one worker's WebSocket."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from vllm_multinode.launcher.proof import Seal

log = logging.getLogger(__name__)

_BACKLOG_BYTES: Final = 32 * 1024


@dataclass
class Peer:
    """A worker at the other end.

    Attributes:
        socket: the WebSocket.
        transport: under it, where it is still there.
        address: where it comes from.
        incoming, outgoing: tags of the messages from it and to it.
    """

    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    address: str
    incoming: Seal
    outgoing: Seal

    async def send(self, text: str) -> None:
        """Send, unless the peer has stopped reading: its heartbeats will say so, and nobody else may wait."""
        if self.transport is None or self.transport.get_write_buffer_size() > _BACKLOG_BYTES:
            return
        try:
            await self.socket.send_str(self.outgoing.close(text))
        except ConnectionError:
            log.debug("a message was not sent: the peer is gone")

    async def say_and_close(self, text: str) -> None:
        """Send the last word."""
        await self.send(text)
        try:
            await self.socket.close()
        except ConnectionError:
            log.debug("a refused worker did not wait for the reason")

    def abort(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()

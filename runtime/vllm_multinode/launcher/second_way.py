"""Whether a silent peer is there after all: asked over a new connection.

After a link has been down for three or four seconds, TCP waits until some six seconds after its first loss
before it sends again, longer than the heartbeat's timeout. A new connection is through at once.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

from vllm_multinode.launcher.network import host_port

__all__ = ["SecondWay", "hasten"]

_ANSWER: Final = 0.5
_PERIOD: Final = 0.25
_RECENT: Final = 1.0
"""Seconds that an answer excuses a late heartbeat for."""
# Not in Python's socket: linux/tcp.h.
_TCP_THIN_LINEAR_TIMEOUTS: Final = 16
_TCP_RTO_MAX_MS: Final = 44
_LONGEST_RTO_MS: Final = 1000


class SecondWay:
    """Excuses one peer's late heartbeats while its supervisor answers `/live` over new connections.

    Anybody at that address may answer, so an excuse is bounded: a peer that says nothing for twice the
    timeout is lost in any case. An answer that is under way when the timeout ends is waited for: the first
    one after a cut may take a second, until the neighbour's address has been asked for again.

    Args:
        address: of the peer.
        port: of its supervisor.
        now: the clock.
    """

    def __init__(self, address: str, port: int, now: Callable[[], float]) -> None:
        self._address, self._port = address, port
        self._now = now
        self._answered = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    def is_lost(self, silence: float, timeout: float) -> bool:
        """Judge the peer, and ask it where it is late.

        Args:
            silence: seconds since its last heartbeat.
            timeout: seconds of silence after which it is lost.
        """
        if silence <= timeout / 2:
            self.close()
            return False
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        excused = self._now() - self._answered <= _RECENT and silence <= 2 * timeout
        return silence > timeout + min(_ANSWER, timeout / 10) and not excused

    async def _ask(self) -> None:
        while True:
            if await _lives(self._address, self._port):
                self._answered = self._now()
            await asyncio.sleep(_PERIOD)

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None


async def _lives(address: str, port: int) -> bool:
    """The supervisor's own answer: a frozen one's kernel still takes connections."""
    request = f"GET /live HTTP/1.1\r\nHost: {host_port(address, port)}\r\nConnection: close\r\n\r\n"
    writer = None
    try:
        async with asyncio.timeout(_ANSWER):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(request.encode())
            return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except (OSError, TimeoutError, ValueError):
        return False
    finally:
        if writer is not None:
            writer.close()


def hasten(connection: socket.socket | None) -> None:
    """Have what was lost on a connection sent again sooner, where the kernel knows how."""
    if connection is None:
        return
    for option, value in ((_TCP_THIN_LINEAR_TIMEOUTS, 1), (_TCP_RTO_MAX_MS, _LONGEST_RTO_MS)):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)

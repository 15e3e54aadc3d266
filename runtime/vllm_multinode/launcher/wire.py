"""How fast the wire between the nodes is, measured before an engine depends on it.

Every node sends to the next one in the order of ranks, all at the same time, as the stages of a pipeline and
the ring of an all-reduce do: first single bytes back and forth, then as much as goes through in 0.3 seconds.
Plain TCP between the pods' own addresses; what RDMA does beside them is not seen.
"""

import asyncio
import hmac
import logging
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.messages import WireMeasure, WireOpen, WireReady, WireResult

log = logging.getLogger(__name__)

_CHUNK: Final = 1 << 18
_ROUNDS: Final = 20
_RESULT: Final = struct.Struct("!Qd")
"""Bytes and seconds."""
_SECONDS: Final = 0.3
_POLL: Final = 0.2
_TIMEOUT: Final = 3.0
"""For one socket operation."""
LIMIT: Final = 8.0
"""Seconds for a whole check; what has not come by then is told of as missing."""


def new_key() -> str:
    """What a node shows to the next one, so that it measures nobody else's packets."""
    return secrets.token_hex(16)


@dataclass
class Listener:
    """Takes one measurement of the node before this one.

    Args:
        address: of this node.
        key: of this check.
    """

    address: str
    key: str

    def __post_init__(self) -> None:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._socket = socket.create_server((self.address, 0), family=family, backlog=4)
        self._socket.settimeout(_POLL)
        self.port: int = self._socket.getsockname()[1]
        self._closed = threading.Event()

    async def serve(self) -> None:
        """Until one peer that knows the key has measured, it is closed, or the limit is over."""
        try:
            await asyncio.to_thread(self._serve)
        finally:
            self.close()

    def close(self) -> None:
        """Take no more."""
        self._closed.set()

    def _serve(self) -> None:
        deadline = time.monotonic() + LIMIT
        with self._socket:
            while time.monotonic() < deadline and not self._closed.is_set():
                try:
                    peer, _ = self._socket.accept()
                    with peer:
                        peer.settimeout(_TIMEOUT)
                        if self._answer(peer):
                            return
                except OSError:
                    # Nobody yet, or a stranger that has gone.
                    continue

    def _answer(self, peer: socket.socket) -> bool:
        if not hmac.compare_digest(_exactly(peer, len(self.key)), self.key.encode()):
            return False
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(_ROUNDS):
            peer.sendall(_exactly(peer, 1))
        buffer, received, began = bytearray(_CHUNK), peer.recv_into(bytearray(1)), time.monotonic()
        while (seconds := time.monotonic() - began) < _SECONDS:
            received += peer.recv_into(buffer)
        peer.sendall(_RESULT.pack(received, seconds))
        # An end with bytes unread would be a reset, and the peer might not read the answer.
        while peer.recv_into(buffer) and time.monotonic() - began < _TIMEOUT:
            continue
        return True


async def measure(address: str, port: int, key: str) -> WireResult:
    """Round trip and throughput to a node's listener; never raises for what the network does."""
    return await asyncio.to_thread(_measure, address, port, key)


def _measure(address: str, port: int, key: str) -> WireResult:
    try:
        with socket.create_connection((address, port), _TIMEOUT) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.sendall(key.encode())
            round_trip = min(_round_trip(peer) for _ in range(_ROUNDS))
            received, seconds = _send_until_told(peer)
    except OSError as error:
        return WireResult(reason=error.strerror or str(error) or type(error).__name__)
    return WireResult(round_trip_ms=round(round_trip * 1e3, 3), gbit_s=round(received * 8 / seconds / 1e9, 3))


def _send_until_told(peer: socket.socket) -> tuple[int, float]:
    """Bytes that arrived, and in how many seconds, by the receiver's own clock."""
    chunk, deadline = bytes(_CHUNK), time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        readable, writable, _ = select.select([peer], [peer], [], _POLL)
        if readable:
            received, seconds = _RESULT.unpack(_exactly(peer, _RESULT.size))
            return received, seconds
        if writable:
            peer.send(chunk)
    raise TimeoutError("nothing came through in time")


def _round_trip(peer: socket.socket) -> float:
    began = time.monotonic()
    peer.sendall(b"?")
    _exactly(peer, 1)
    return time.monotonic() - began


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            raise ConnectionError("the connection ended")
        data += part
    return data


async def be_measured(address: str, said: WireOpen, send: Callable[[Frozen], Awaitable[None]]) -> None:
    """A worker's part: listen for the node before it, and tell the head where.

    Args:
        address: of this node.
        said: by the head.
        send: sends a message to it.
    """
    try:
        listener = Listener(address, said.key)
    except OSError as error:
        log.warning("the link cannot be measured: %s", error)
        await send(WireReady(key=said.key, port=0))
        return
    await send(WireReady(key=said.key, port=listener.port))
    await listener.serve()


async def measure_next(said: WireMeasure, send: Callable[[Frozen], Awaitable[None]]) -> None:
    """A worker's part: measure the way to the next node, and tell the head.

    Args:
        said: by the head.
        send: sends a message to it.
    """
    result = await measure(said.address, said.port, said.key)
    await send(result.model_copy(update={"key": said.key}))

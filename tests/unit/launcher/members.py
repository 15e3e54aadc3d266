"""A worker's end of a connection to a head, as a test plays it."""

import asyncio
from contextlib import suppress
from typing import Any, TypeVar

import aiohttp

from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.handshake import CHALLENGE_PATH, PATH, WorkersSide
from vllm_multinode.launcher.messages import Claim, FromHead, Probe, from_head
from vllm_multinode.launcher.proof import Seal, Transcript
from vllm_multinode.launcher.settings import GroupName

NAME = GroupName(namespace="ns", service="llm", generation="3")
T = TypeVar("T", bound=Frozen)
_DEADLINE = 30.0
"""Seconds: a loaded machine is slow, and no test waits for this to pass."""


class Pod:
    """A worker's WebSocket, sealed where the group has a token."""

    def __init__(
        self, link: aiohttp.ClientWebSocketResponse, said: Transcript | None = None, token: str | None = None
    ) -> None:
        self.link = link
        self.outgoing, self.incoming = said.seals(token) if said is not None else (Seal(None), Seal(None))

    async def send(self, message: Frozen) -> None:
        await self.link.send_str(self.outgoing.close(message.model_dump_json()))

    async def receive(self) -> FromHead:
        return from_head.validate_json(self.incoming.open(await self.link.receive_str(timeout=_DEADLINE)))

    async def expect(self, kind: type[T]) -> T:
        """The next message, which is of that kind; the head's questions about the engine are passed over."""
        while isinstance(said := await self.receive(), Probe) and kind is not Probe:
            continue
        assert isinstance(said, kind), said
        return said

    async def hears(self, kind: type[FromHead], timeout: float = _DEADLINE) -> FromHead:
        """The next message of that kind; heartbeats and what else comes are passed over."""
        async with asyncio.timeout(timeout):
            while True:
                said = await self.receive()
                if isinstance(said, kind):
                    return said

    async def ended(self) -> bool:
        """Whether the head closes the connection within the deadline; what it says before is passed over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DEADLINE):
                while (await self.link.receive()).type is aiohttp.WSMsgType.TEXT:
                    continue
            return True
        return False


async def challenge(session: Any, base: str = "") -> str:
    async with session.get(base + CHALLENGE_PATH) as answer:
        return str(await answer.text())


async def connect(
    session: Any, base: str = "", *, token: str | None = None, claim: Claim | None = None
) -> Pod:
    """Prove what there is to prove, and open the WebSocket.

    Args:
        session: aiohttp's session or test client.
        base: URL in front of the paths.
        token: of the group.
        claim: who the worker says that it is; pod `a` of `NAME` by default.
    """
    claim = claim or Claim(pod="a", group=NAME)
    side = WorkersSide(token, claim, await challenge(session, base) if token is not None else "")
    link = await session.ws_connect(base + PATH, headers=side.headers())
    return Pod(link, side.check(link._response.headers), token)


def frame(code: int, payload: bytes, *, last: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """One WebSocket frame of a client (RFC 6455, 5.2)."""
    first = bytes([(0x80 if last else 0) | reserved << 4 | code])
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        length = bytes([bit | len(payload)])
    elif len(payload) < 1 << 16:
        length = bytes([bit | 126]) + len(payload).to_bytes(2, "big")
    else:
        length = bytes([bit | 127]) + len(payload).to_bytes(8, "big")
    return first + length + (bytes(4) if masked else b"") + payload

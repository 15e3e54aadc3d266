"""The worker's connection to its head: both have proven themselves, and every message is held to that."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

import aiohttp
from pydantic import ValidationError

from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.handshake import CHALLENGE_PATH, PATH, WorkersSide, refusal_in
from vllm_multinode.launcher.messages import LONGEST_FROM_HEAD, Claim, FromHead, Refused, from_head
from vllm_multinode.launcher.network import host_port
from vllm_multinode.launcher.proof import SealError, Transcript
from vllm_multinode.launcher.second_way import SecondWay, hasten

_CONNECT_TIMEOUT: Final = 3.0
_ANSWER_TIMEOUT: Final = 5.0
_LONGEST_CHALLENGE: Final = 1024


class LinkEndedError(Exception):
    """The connection to the head is over, or was never one; says why."""


class RefusedError(Exception):
    """The head opened no WebSocket, with its reason, which nothing proves to be the head's."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.what)
        self.refused = refused


class Link:
    """One WebSocket to the head.

    Args:
        socket: open.
        said: before it opened.
        token: of the group, or None.
        way: to ask the head by, where it is late.
    """

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, said: Transcript, token: str | None, way: SecondWay
    ) -> None:
        self._socket = socket
        self._way = way
        self._outgoing, self._incoming = said.seals(token)

    async def send(self, message: Frozen) -> bool:
        """Send unless the head is gone; tells whether it was sent."""
        if self._socket.closed:
            return False
        try:
            await self._socket.send_str(self._outgoing.close(message.model_dump_json()))
        except ConnectionError:
            return False
        return True

    async def receive(self, timeout: float) -> FromHead:
        """The next message of the head.

        Raises:
            LinkEndedError: silence, an end, or something that the head did not send.
        """
        message = await self._wait(timeout)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise LinkEndedError("the connection ended")
        try:
            return from_head.validate_json(self._incoming.open(message.data))
        except SealError as error:
            raise LinkEndedError(f"{error}; somebody may be in between") from error
        except ValidationError as error:
            raise LinkEndedError("it speaks another protocol") from error

    async def _wait(self, timeout: float) -> aiohttp.WSMessage:
        began, silence = _now(), 0.0
        try:
            while True:
                # No heartbeat is late before half of the time is over.
                pause = timeout / 2 if silence < timeout / 2 else timeout / 20
                try:
                    return await self._socket.receive(timeout=pause)
                except TimeoutError:
                    silence = _now() - began
                if self._way.is_lost(silence, timeout):
                    raise LinkEndedError(f"no heartbeat for {silence:.1f} s")
        finally:
            self._way.close()


def _now() -> float:
    return asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def connected(address: str, port: int, token: str | None, claim: Claim) -> AsyncIterator[Link]:
    """A link to the head at that address, which has proven that it knows the token.

    Raises:
        RefusedError: it opened no WebSocket, and says why.
        UnprovenError: it did, and has not proven itself.
        aiohttp.ClientError, OSError, TimeoutError: it cannot be reached.
    """
    base = f"http://{host_port(address, port)}"
    # The group's own addresses are never asked for by way of a proxy.
    timeout = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT, sock_connect=_CONNECT_TIMEOUT)
    tracing, answered = _headers_of_answers()
    async with aiohttp.ClientSession(
        timeout=timeout,
        trust_env=False,
        # Nothing that a head says is compressed or worth a cookie.
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[tracing],
    ) as session:
        challenge = await _challenge(session, base) if token is not None else ""
        side = WorkersSide(token, claim, challenge)
        try:
            socket = await session.ws_connect(
                base + PATH,
                headers=side.headers(),
                timeout=aiohttp.ClientWSTimeout(ws_close=1),
                max_msg_size=LONGEST_FROM_HEAD,
            )
        except aiohttp.WSServerHandshakeError as error:
            refused = refusal_in(error.headers or {})
            if refused is None:
                raise
            raise RefusedError(refused) from error
        async with socket:
            hasten(socket.get_extra_info("socket"))
            way = SecondWay(address, port, _now)
            yield Link(socket, side.check(answered[-1] if answered else {}), token, way)


def _headers_of_answers() -> tuple[aiohttp.TraceConfig, list[Mapping[str, str]]]:
    """aiohttp shows the headers with which a WebSocket opened to traces only, and follows redirects to it."""
    seen: list[Mapping[str, str]] = []

    async def answered(_: object, __: object, answer: aiohttp.TraceRequestEndParams) -> None:
        seen.append(answer.response.headers)

    async def redirected(*_: object) -> None:
        raise LinkEndedError("it sends its workers elsewhere, which a head never does")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_end.append(answered)
    tracing.on_request_redirect.append(redirected)
    return tracing, seen


async def _challenge(session: aiohttp.ClientSession, base: str) -> str:
    async with session.get(base + CHALLENGE_PATH) as response:
        if response.status != 200:
            busy = response.status == 503
            raise LinkEndedError("it is not ready yet" if busy else "it speaks another protocol")
        text = (await response.content.read(_LONGEST_CHALLENGE)).decode(errors="replace").strip()
        if not text.isascii() or not text.isprintable():
            raise LinkEndedError("it speaks another protocol")
        return text

"""A worker's way to whoever answers under its head's name, and is not its head."""

import asyncio
import base64
import gzip
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from unit.launcher.members import NAME
from vllm_multinode.launcher.handshake import NONCE, PROOF, UnprovenError, WorkersSide
from vllm_multinode.launcher.link import LinkEndedError, RefusedError, connected
from vllm_multinode.launcher.messages import Claim

TOKEN = "the group's token"
CLAIM = Claim(pod="w", group=NAME)
CHALLENGE = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nchallenge"
SWITCHES = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
TRIED = (LinkEndedError, RefusedError, UnprovenError, aiohttp.ClientError, OSError, TimeoutError)
"""What a worker takes for "not this time" (`Worker._look_up`)."""


class Stranger:
    """Answers each request with bytes of the test's.

    Args:
        answer: to a request's head; None keeps silent.
    """

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer
        self.seen: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                self.seen.append(asked)
                answer = self._answer(asked)
                if answer is None:
                    await asyncio.Event().wait()
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def answering(stranger: Stranger) -> AsyncIterator[int]:
    server = await asyncio.start_server(stranger.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def attempt(answer: Callable[[bytes], bytes | None], token: str | None = TOKEN) -> Stranger:
    """One try to join; nothing of it may be believed, and it has an end."""
    stranger = Stranger(answer)
    async with answering(stranger) as port:
        with pytest.raises(TRIED):
            async with connected("127.0.0.1", port, token, CLAIM):
                pytest.fail("it was taken for the head")
    assert not any(TOKEN.encode() in asked for asked in stranger.seen)
    return stranger


def accepts(asked: bytes) -> bytes:
    """The right answer to a WebSocket's key, without a proof."""
    return CHALLENGE if b"/challenge" in asked else _opened(asked)


def _opened(asked: bytes, *headers: bytes) -> bytes:
    key = _header(asked, b"sec-websocket-key")
    mark = base64.b64encode(hashlib.sha1(key + aiohttp.http.WS_KEY).digest())
    lines = b"".join(line + b"\r\n" for line in (b"Sec-WebSocket-Accept: " + mark, *headers))
    return SWITCHES + lines + b"\r\n"


def _header(asked: bytes, name: bytes) -> bytes:
    for line in asked.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name.lower():
            return value.strip()
    return b""


def reflects(asked: bytes) -> bytes:
    """The worker's own proof sent back to it as the head's."""
    if b"/challenge" in asked:
        return CHALLENGE
    own = _header(asked, PROOF.encode())
    claim = _header(asked, b"multinode-worker")
    return _opened(asked, b"Multinode-Head: " + claim, b"Multinode-Proof: " + own)


def proves_another_token(asked: bytes) -> bytes:
    if b"/challenge" in asked:
        return CHALLENGE
    head = b'{"pod": "head", "group": {}}'
    return _opened(asked, b"Multinode-Head: " + head, b"Multinode-Proof: " + b"0" * 64)


def bomb(_: bytes) -> bytes:
    """A challenge of 64 MiB, in 64 KiB."""
    packed = gzip.compress(bytes(64 << 20))
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed


STRANGERS = {
    "no-proof": accepts,
    "reflects-the-workers-proof": reflects,
    "another-token": proves_another_token,
    "gzip-bomb": bomb,
    "endless-challenge": lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 100_000,
    "header-of-a-mebibyte": lambda _: b"HTTP/1.1 200 OK\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "ten-thousand-headers": lambda _: b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    "binary": lambda _: bytes(range(256)),
    "control-characters": lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x1b[2J",
    "not-http": lambda _: b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "no-challenge": lambda _: b"HTTP/1.1 204 No Content\r\n\r\n",
    "chunks-that-end-early": lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc\r\n0",
    "refusal-in-fragments": lambda asked: (
        CHALLENGE if b"/challenge" in asked else b"HTTP/1.1 401 No\r\nMultinode-Refused: {\r\n\r\n"
    ),
}


@pytest.mark.parametrize("name", STRANGERS)
async def test_a_stranger_is_not_taken_for_the_head(name: str) -> None:
    began = time.process_time()
    await attempt(STRANGERS[name])
    # Whatever comes is not unpacked, and not kept: processor time, so that a busy machine does not matter.
    assert time.process_time() - began < 5


@pytest.mark.parametrize("token", [pytest.param(TOKEN, id="token"), pytest.param(None, id="no-token")])
@pytest.mark.parametrize("status", [pytest.param(s, id=str(s)) for s in (301, 302, 303, 307, 308)])
async def test_a_redirect_leads_no_worker_elsewhere(status: int, token: str | None) -> None:
    elsewhere = Stranger(accepts)
    async with answering(elsewhere) as port:
        there = b"HTTP/1.1 %d Elsewhere\r\nLocation: http://127.0.0.1:%d/group\r\nContent-Length: 0\r\n\r\n"
        await attempt(lambda _: there % (status, port), token)
        # Nor where the challenge is answered and the WebSocket is led away.
        await attempt(lambda asked: CHALLENGE if b"/challenge" in asked else there % (status, port), token)
    assert elsewhere.seen == []


async def test_a_silent_stranger_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_multinode.launcher.link._ANSWER_TIMEOUT", 0.2)
    await attempt(lambda _: None)
    await attempt(lambda asked: CHALLENGE if b"/challenge" in asked else None)


def test_every_try_has_its_own_nonce() -> None:
    sides = [WorkersSide(TOKEN, CLAIM, "challenge") for _ in range(50)]
    assert len({side.headers()[NONCE] for side in sides}) == 50

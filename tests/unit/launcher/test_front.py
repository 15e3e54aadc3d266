"""What a head's port does with bytes that are no request, and with requests that are not meant for it."""

import asyncio
import logging
import random
import resource
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unit.launcher.members import frame
from unit.launcher.test_http import Pod
from vllm_multinode.launcher.connections import Connections
from vllm_multinode.launcher.http import application, listen
from vllm_multinode.launcher.logs import is_ours, silence_strangers
from vllm_multinode.launcher.network import open_listener


@pytest.fixture(autouse=True)
def _as_in_a_pod() -> Iterator[None]:
    silence_strangers()
    yield
    logging.getLogger("aiohttp.server").removeFilter(is_ours)


PROBE = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def port(connections: Connections | None = None) -> AsyncIterator[int]:
    """One that answers probes, `/status`, and `/group` with a WebSocket that echoes."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False, max_msg_size=1024, timeout=1)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(str(message.data))
        return socket

    app = application(Pod())
    app.router.add_get("/group", echo)
    with open_listener("127.0.0.1", 0, 1) as free:
        number = free.getsockname()[1]
    close = await listen(app, "127.0.0.1", number, connections or Connections(lifetime=0.4))
    try:
        yield number
    finally:
        await close()


async def said_to(number: int, parts: Iterable[bytes]) -> bytes:
    """Send these, each in a packet of its own, and return all that is answered until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    answer = b""
    with suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while chunk := await reader.read(1 << 16):
                answer += chunk
    writer.transport.abort()
    return answer


async def lives(number: int) -> bool:
    return (await said_to(number, [PROBE])).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("size", [1, 2, 7, 100], ids=str)
async def test_a_probe_may_come_in_pieces(size: int) -> None:
    async with port() as number:
        pieces = [PROBE[at : at + size] for at in range(0, len(PROBE), size)]
        assert (await said_to(number, pieces)).endswith(b"\r\n\r\nlive\n")


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), (b"400", b""), id="http-2-preface"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01" + bytes(600), (b"",), id="tls"),
        pytest.param(b"GET /live HTTP/1.1\nHost: x\n\n", (b"", b"400"), id="bare-line-feeds"),
        pytest.param(b"GET /live\r\n\r\n", (b"200", b"400"), id="http-0.9"),
        pytest.param(b"GET /live HTTP/9.9\r\n\r\n", (b"200", b"400"), id="http-9.9"),
        pytest.param(b"HEAD /live HTTP/1.1\r\nHost: x\r\n\r\n", (b"200",), id="head"),
        pytest.param(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", (b"404", b"405", b"400"), id="connect"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", (b"404", b"405", b"400"), id="options"),
        pytest.param(b"GET http://a/live HTTP/1.1\r\nHost: x\r\n\r\n", (b"200", b"404"), id="absolute"),
        pytest.param(b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", (b"404",), id="out-of-the-tree"),
        pytest.param(b"GET /%00%ff HTTP/1.1\r\nHost: x\r\n\r\n", (b"404", b"400"), id="bytes-in-the-path"),
        pytest.param(
            b"POST /status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
            (b"400",),
            id="chunk-of-4-gib",
        ),
        pytest.param(
            b"GET /status HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            (b"400",),
            id="two-lengths",
        ),
        pytest.param(
            b"GET /status HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            (b"400",),
            id="compressed-body",
        ),
        pytest.param(
            b"GET /status HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            (b"400",),
            id="expects-100",
        ),
        pytest.param(b"GET /live HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", (b"",), id="20-kb-header"),
        pytest.param(b"GET /live HTTP/1.1\r\n" + b"X: y\r\n" * 4000 + b"\r\n", (b"",), id="4000-headers"),
        pytest.param(b"\r\n\r\n\r\n\r\n", (b"", b"400"), id="empty-lines"),
        pytest.param(bytes(3000), (b"",), id="zeros"),
    ],
)
async def test_odd_requests_are_answered_or_ended_and_nobody_else_notices(
    asked: bytes, answered: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with port() as number:
        answer = await said_to(number, [asked])
        status = answer.split(b" ", 2)[1] if answer.startswith(b"HTTP/") else b""
        assert status in answered, answer[:200]
        assert await lives(number)
    assert "Traceback" not in caplog.text


async def test_one_request_a_connection_however_many_are_sent_in_one_breath() -> None:
    async with port() as number:
        answer = await said_to(number, [b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * 50])
        assert answer.count(b"HTTP/1.1 200") == 1
        assert (await said_to(number, [PROBE * 50])).count(b"HTTP/1.1 200") == 1


UPGRADE = (
    b"GET /group HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([frame(1, b"a", last=False)] + [frame(0, b"b" * 100, last=False)] * 500, id="endless"),
        pytest.param([frame(0, b"a")], id="continues-nothing"),
        pytest.param([frame(1, b"a", last=False), frame(1, b"b")], id="begins-twice"),
        pytest.param([frame(1, b"a" * 100_000)], id="too-long"),
        pytest.param([b"\x81\xff" + (1 << 62).to_bytes(8, "big") + bytes(4)], id="says-4-eib"),
        pytest.param([frame(1, b"x", reserved=4)], id="compressed-unasked"),
        pytest.param([frame(1, b"x", reserved=3)], id="reserved-bits"),
        pytest.param([frame(5, b"x")], id="unknown-opcode"),
        pytest.param([frame(1, b"x", masked=False)], id="not-masked"),
        pytest.param([frame(1, b"\xff\xfe")], id="not-utf-8"),
        pytest.param([frame(9, b"p" * 126)], id="ping-too-long"),
        pytest.param([frame(9, b"p" * 100)] * 3000, id="three-thousand-pings"),
        pytest.param([frame(8, b"\x03")], id="half-a-close-code"),
        pytest.param([frame(2, bytes(100))], id="binary"),
    ],
)
async def test_odd_frames_end_their_own_connection_at_most(
    frames: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async with port() as number:
        answer = await said_to(number, [UPGRADE, b"".join(frames)])
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"permessage-deflate" not in answer
        assert await lives(number)
    assert "Traceback" not in caplog.text


async def test_one_that_sends_a_byte_at_a_time_has_its_few_seconds_and_no_more() -> None:
    connections = Connections(lifetime=0.4)
    async with port(connections) as number:
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while not reader.at_eof():
                    writer.write(b"G")
                    await writer.drain()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await reader.read(1)
        writer.transport.abort()
        assert connections.ended_total == 1


async def test_what_is_open_when_the_port_closes_is_ended() -> None:
    async with port() as number:
        silent = await asyncio.open_connection("127.0.0.1", number)
        half = await asyncio.open_connection("127.0.0.1", number)
        half[1].write(b"GET /status HTTP/1.1\r\nX: ")
        assert await lives(number)
    for reader, writer in (silent, half):
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.transport.abort()


TOKENS = st.sampled_from(
    [
        *(b"GET", b"POST", b"/live", b"/group", b"/status", b"/group/challenge", b" ", b"\r\n", b"\r\n\r\n"),
        *(b"HTTP/1.1", b"HTTP/1.0", b"Host: x", b"Content-Length: 3", b"Transfer-Encoding: chunked", b":"),
        *(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"0\r\n\r\n", b"\x00"),
        *(b"Multinode-Worker: {}", b"Multinode-Proof: x", b"\xff\xfe", b"\n", b"Sec-WebSocket-Key: AA=="),
        frame(1, b"{}"),
    ]
)
SAID = st.lists(st.one_of(TOKENS, st.binary(max_size=40)), max_size=30)


def test_nothing_that_is_said_stops_the_next_probe(caplog: pytest.LogCaptureFixture) -> None:
    """Hundreds of conversations with one port, each in a few packets."""
    caplog.set_level(logging.WARNING)

    async def converse(conversations: list[list[bytes]]) -> None:
        async with port() as number:
            await asyncio.gather(*(said_to(number, said) for said in conversations))
            assert await lives(number)

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(SAID, min_size=10, max_size=40))
    def converses(conversations: list[list[bytes]]) -> None:
        asyncio.run(converse(conversations))

    converses()
    assert "Traceback" not in caplog.text


async def test_random_bytes_after_a_whole_request_stop_nobody() -> None:
    chance = random.Random(7)
    async with port() as number:
        frames = [chance.randbytes(chance.randrange(300)) for _ in range(200)]
        await asyncio.gather(*(said_to(number, [UPGRADE, some]) for some in frames))
        assert await lives(number)


async def test_a_full_table_of_files_costs_the_oldest_strangers_their_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = Connections(lifetime=30)
    clients: list[socket.socket] = []
    async with port(connections) as number:
        try:
            with socket.socket() as newest:
                resource.setrlimit(resource.RLIMIT_NOFILE, (newest.fileno() + 9, limits[1]))
            async with asyncio.timeout(10):
                while not connections.ended_total:
                    with suppress(OSError):
                        clients.append(socket.create_connection(("127.0.0.1", number)))
                    await asyncio.sleep(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert await lives(number)
    for client in clients:
        client.close()
    assert caplog.text.count("no connection can be accepted: Too many open files") == 1

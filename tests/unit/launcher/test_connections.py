"""Bounds on the connections of a supervisor's port, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from vllm_multinode.launcher.connections import Connections
from vllm_multinode.launcher.http import listen

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Port:
    """A server that answers `/`, and whoever is connected to it."""

    number: int
    connections: Connections
    open: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def connect(self, source: str = "127.0.0.1") -> Stream:
        stream = await asyncio.open_connection("127.0.0.1", self.number, local_addr=(source, 0))
        self.open.callback(stream[1].close)
        return stream

    async def get(self, stream: Stream) -> bytes:
        reader, writer = stream
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(3):
            return await reader.readline()


async def ended(stream: Stream) -> bool:
    async with asyncio.timeout(3):
        with suppress(ConnectionError):
            return await stream[0].read(1) == b""
        return True


@pytest.fixture
async def port(unused_tcp_port: int) -> AsyncIterator[Port]:
    connections = Connections(files=1 << 16, lifetime=0.5)
    connections.in_all, connections.per_address = 6, 3

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="x")

    app = web.Application()
    app.router.add_get("/", answer)
    close = await listen(app, "127.0.0.1", unused_tcp_port, connections)
    found = Port(unused_tcp_port, connections)
    async with found.open:
        yield found
    await close()


async def test_the_oldest_of_an_address_goes_when_one_too_many_comes(port: Port) -> None:
    silent = [await port.connect() for _ in range(3)]
    newest = await port.connect()
    assert await ended(silent[0])
    assert b"200" in await port.get(newest)
    assert b"200" in await port.get(silent[2])


async def test_one_address_cannot_put_out_another(port: Port) -> None:
    other = await port.connect("127.0.0.2")
    for _ in range(10):
        await port.connect()
    assert b"200" in await port.get(other)


async def test_many_addresses_together_are_bounded_too(port: Port) -> None:
    streams = [await port.connect(f"127.0.0.{number}") for number in range(1, 8)]
    assert await ended(streams[0])
    assert b"200" in await port.get(streams[-1])


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost:", id="half-a-header"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", id="half-a-body"),
    ],
)
async def test_who_says_too_little_is_let_go(port: Port, said: bytes) -> None:
    reader, writer = stream = await port.connect()
    writer.write(said)
    async with asyncio.timeout(3):
        with suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
    assert await ended(stream)
    # Nothing of it is remembered.
    assert b"200" in await port.get(await port.connect())


async def test_a_members_connection_stays(port: Port) -> None:
    kept = await port.connect()
    assert b"200" in await port.get(kept)
    await kept[0].readuntil(b"\r\n\r\nx")
    (member,) = port.connections._passing
    port.connections.keep(member)
    passing = await port.connect()
    assert await ended(passing)
    assert b"200" in await port.get(kept)


@pytest.mark.parametrize(
    ("places", "files"),
    [
        pytest.param(2, 1024, id="a-small-limit"),
        pytest.param(2, 65536, id="a-large-limit"),
        pytest.param(4096, 65536, id="a-large-group"),
        pytest.param(2, -1, id="no-limit"),
    ],
)
def test_there_are_files_left_for_everything_else(places: int, files: int) -> None:
    found = Connections(places, files)
    assert 16 <= found.per_address <= found.in_all
    if files > 0:
        assert found.in_all + places <= files * 0.6

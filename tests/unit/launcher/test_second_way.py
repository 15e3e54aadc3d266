import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from free_ports import free_port
from vllm_multinode.launcher.second_way import SecondWay

TIMEOUT = 2.0


class Clock:
    """One that stands where it is put."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time


@asynccontextmanager
async def listening(says: bytes) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A port whose answer to everything is this, and whether it was asked."""
    asked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says)
        writer.close()
        await writer.wait_closed()
        asked.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def asked_once(way: SecondWay, asked: asyncio.Event) -> None:
    assert not way.is_lost(TIMEOUT * 0.6, TIMEOUT)
    await asyncio.wait_for(asked.wait(), 10)
    # The answer is on its way to whoever asked.
    await asyncio.sleep(0.1)


async def test_a_peer_that_answers_has_twice_the_time() -> None:
    clock = Clock()
    async with listening(b"HTTP/1.1 200 OK\r\n\r\n") as (port, asked):
        way = SecondWay("127.0.0.1", port, clock.now)
        await asked_once(way, asked)
        assert not way.is_lost(TIMEOUT * 1.5, TIMEOUT)
        assert way.is_lost(TIMEOUT * 2 + 0.1, TIMEOUT)
        way.close()


async def test_an_answer_excuses_for_a_moment_only() -> None:
    clock = Clock()
    async with listening(b"HTTP/1.1 200 OK\r\n\r\n") as (port, asked):
        way = SecondWay("127.0.0.1", port, clock.now)
        await asked_once(way, asked)
        way.close()
        clock.time += 1.1
        assert way.is_lost(TIMEOUT * 1.5, TIMEOUT)
        way.close()


@pytest.mark.parametrize(
    "says",
    [pytest.param(b"HTTP/1.1 404 Not Found\r\n\r\n", id="another-server"), pytest.param(b"", id="nothing")],
)
async def test_who_is_no_supervisor_excuses_nothing(says: bytes) -> None:
    async with listening(says) as (port, asked):
        way = SecondWay("127.0.0.1", port, Clock().now)
        await asked_once(way, asked)
        assert not way.is_lost(TIMEOUT + 0.1, TIMEOUT)
        assert way.is_lost(TIMEOUT * 1.1 + 0.1, TIMEOUT)
        way.close()


async def test_who_cannot_be_reached_is_lost_at_the_time_out() -> None:
    way = SecondWay("127.0.0.1", free_port(), Clock().now)
    assert not way.is_lost(TIMEOUT * 0.6, TIMEOUT)
    await asyncio.sleep(0.1)
    assert not way.is_lost(TIMEOUT * 1.1, TIMEOUT)
    assert way.is_lost(TIMEOUT * 1.1 + 0.1, TIMEOUT)
    way.close()


async def test_a_peer_in_time_is_not_asked() -> None:
    async with listening(b"") as (port, asked):
        way = SecondWay("127.0.0.1", port, Clock().now)
        assert not way.is_lost(TIMEOUT / 2, TIMEOUT)
        await asyncio.sleep(0.2)
        assert not asked.is_set()

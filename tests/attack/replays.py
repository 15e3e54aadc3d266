"""A recorded admission, sent again by another connection, by the same one, and reflected."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

import aiohttp

from attack.strangers import joining, opened, session
from attack.target import HEAD, Target
from unit.launcher.members import Pod
from vllm_multinode.launcher.messages import Beat, Hello, Leaving, Welcome, from_head

_CHUNK: Final = 1 << 16
_ENDED: Final = 15.0
_LAST: Final = b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass
class Tape:
    """What went over one connection, in each direction."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)

    @property
    def frames(self) -> bytes:
        """What the worker sent once its WebSocket was open."""
        return bytes(self.up).rpartition(b"\r\n\r\n")[2]


@contextlib.asynccontextmanager
async def _recording(target: Target) -> AsyncIterator[tuple[Target, list[Tape]]]:
    """The same head by way of a relay that records."""
    tapes: list[Tape] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tapes.append(tape := Tape())
        head_reader, head_writer = await asyncio.open_connection(HEAD, target.port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_copy(reader, head_writer, tape.up), _copy(head_reader, writer, tape.down))

    server = await asyncio.start_server(relay, HEAD, 0)
    try:
        yield replace(target, port=server.sockets[0].getsockname()[1]), tapes
    finally:
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tape: bytearray) -> None:
    try:
        while data := await reader.read(_CHUNK):
            tape += data
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def recorded(target: Target, hello: Hello) -> Tape:
    """The admission of a member, from its first byte until it has left again."""
    async with _recording(target) as (way, tapes), session() as client:
        pod = await joining(way, client, hello, target.token)
        assert pod is not None
        await pod.expect(Welcome)
        await pod.send(Leaving(reason="it was recorded"))
        assert await pod.ended()
        await pod.link.close()
    # The challenge came by a connection of its own.
    return next(tape for tape in tapes if b"101 Switching" in tape.down)


async def replays(target: Target, count: int) -> None:
    """Each way to send it again, by turns; nobody may be let in by it."""
    hello = target.hello("rogue", instance="1")
    tape = await recorded(target, hello)
    for number in range(count):
        await _WAYS[number % len(_WAYS)](target, tape, hello)
    members = [
        member["name"] for member in target.wait(lambda status: len(status["members"]) == 1)["members"]
    ]
    assert members == ["head"], members


async def _by_another_connection(target: Target, tape: Tape, _: Hello) -> None:
    await _refused(target, bytes(tape.up))


async def _twice_by_one_connection(target: Target, tape: Tape, _: Hello) -> None:
    await _refused(target, bytes(tape.up)[: -len(tape.frames)] * 2 + _LAST)


async def _refused(target: Target, said: bytes) -> None:
    reader, writer = await asyncio.open_connection(HEAD, target.port)
    answer = b""
    writer.write(said)
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_ENDED):
            while data := await reader.read(_CHUNK):
                answer += data
    writer.transport.abort()
    assert b"HTTP/1.1 401" in answer, answer
    assert b"101 Switching" not in answer, "an admission was good twice"


async def _old_frames(pod: Pod, tape: Tape, _: Hello) -> None:
    """Those of the recorded admission, in a new one that is right until there."""
    transport = pod.link._writer.transport
    assert transport is not None
    transport.write(tape.frames)


async def _own_frame_twice(pod: Pod, _: Tape, hello: Hello) -> None:
    """A heartbeat, which the head would take at any time."""
    await pod.send(hello)
    await pod.expect(Welcome)
    sealed = pod.outgoing.close(Beat(epoch=0, state="forming").model_dump_json())
    await pod.link.send_str(sealed)
    await pod.link.send_str(sealed)


async def _reflected(pod: Pod, _: Tape, hello: Hello) -> None:
    """The head's own heartbeat, which a worker might have sent as well."""
    await pod.send(hello)
    while True:
        said = await pod.link.receive_str(timeout=_ENDED)
        if isinstance(from_head.validate_json(pod.incoming.open(said)), Beat):
            await pod.link.send_str(said)
            return


def _within(
    act: Callable[[Pod, Tape, Hello], Awaitable[None]],
) -> Callable[[Target, Tape, Hello], Awaitable[None]]:
    """In a connection that was opened with a right proof: it has to end by what is sent."""

    async def way(target: Target, tape: Tape, hello: Hello) -> None:
        async with session() as client:
            pod = await opened(target, client, hello, target.token)
            assert pod is not None
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                await act(pod, tape, hello)
            assert await pod.ended(), f"{act.__name__}: the head goes on listening"
            # Which it would by and by, because nobody beats here.
            assert "no heartbeat" not in target.logs(), f"{act.__name__}: only its silence was noticed"
            await pod.link.close()

    return way


_WAYS: Final = (
    _by_another_connection,
    _twice_by_one_connection,
    _within(_old_frames),
    _within(_own_frame_twice),
    _within(_reflected),
)

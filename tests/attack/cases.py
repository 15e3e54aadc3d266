"""What is done to a group, each case from outside and over loopback, bounded in number and time."""

import asyncio
import contextlib
import gzip
import json
import resource
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import pytest

from attack.replays import replays
from attack.strangers import joining, session
from attack.target import HEAD, NAME, Target
from unit.launcher.members import challenge, frame
from vllm_multinode.launcher.handshake import PATH, PROOF, WorkersSide
from vllm_multinode.launcher.messages import Claim, EngineExited, Hello, Leaving, Refused

Attack = Callable[[Target, int], Coroutine[Any, Any, None]]
_ADDRESSES: Final = 20
_AT_ONCE: Final = 500
_BOMB: Final = gzip.compress(bytes(100 << 20))


@dataclass(frozen=True)
class Case:
    """One attack.

    Attributes:
        what: is done, for the table.
        attack: does it, so often.
        count: how often, for `scripts/attack`; a tenth of it in the tests.
        token: whether the group has one.
        serving: on a group that serves with its worker; else on one that waits for its last.
    """

    what: str
    attack: Attack
    count: int
    token: bool = True
    serving: bool = True


async def silent(target: Target, count: int) -> None:
    """Connections that say nothing, from many addresses and from one."""
    await _hold(target, count, b"")


async def half_headers(target: Target, count: int) -> None:
    """Requests that never end."""
    await _hold(target, count, b"GET /group HTTP/1.1\r\nHost: x\r\nX-Slow: ")


async def drips(target: Target, count: int) -> None:
    """Requests that come a byte at a time."""
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(_drip(target, number))


async def _drip(target: Target, number: int) -> None:
    writer = await _open(target, number)
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(15):
            while writer is not None and not writer.is_closing():
                writer.write(b"G")
                await writer.drain()
                await asyncio.sleep(0.2)
    if writer is not None:
        writer.transport.abort()


async def _hold(target: Target, count: int, said: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(count, hard - 500)
    writers: list[asyncio.StreamWriter] = []
    try:
        for start in range(0, count, _AT_ONCE):
            batch = (_open(target, number) for number in range(start, min(start + _AT_ONCE, count)))
            for opened in await asyncio.gather(*batch):
                if opened is not None:
                    writers.append(opened)
                    opened.write(said)
        await asyncio.sleep(1)
    finally:
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _open(target: Target, number: int) -> asyncio.StreamWriter | None:
    source = f"127.0.1.{1 + number % _ADDRESSES}" if number % 2 else HEAD
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(HEAD, target.port, local_addr=(source, 0))
            return writer
    return None


async def upgrades(target: Target, count: int) -> None:
    """WebSockets of strangers, as fast as they can be asked for."""
    claim = json.dumps(Claim(pod="stranger", group=NAME).model_dump(mode="json"))
    request = (
        f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Multinode-Worker: {claim}\r\n\r\n"
    )
    await _hold(target, count, request.encode())


async def challenges(target: Target, count: int) -> None:
    """Challenges that nobody answers."""
    await _hold(target, count, b"GET /group/challenge HTTP/1.1\r\nHost: x\r\n\r\n")


async def pipelined(target: Target, count: int) -> None:
    """Thousands of requests sent in one breath, over each of many connections."""
    await _hold(target, count, b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * 1500)


async def junk(target: Target, count: int) -> None:
    """Bytes, long lines, many headers, large bodies."""
    kinds = (
        b"\x16\x03\x01" + bytes(2000),
        b"GET /" + b"a" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + b"\r\n",
        b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n" + bytes(200_000),
        b"GET /group HTTP/1.1\r\nHost: x\r\nMultinode-Worker: " + b"[" * 8000 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"GET /status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n" + bytes(50_000),
        b"GET /status HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 200000\r\n\r\n"
        + _BOMB,
    )
    for kind in kinds:
        await _hold(target, count // len(kinds), kind)


async def _each_is_refused(target: Target, hellos: list[Hello], count: int) -> None:
    async with session() as client:
        for number in range(count):
            pod = await joining(target, client, hellos[number % len(hellos)], target.token)
            if pod is not None:
                refused = await pod.receive()
                assert isinstance(refused, Refused), f"the head took {hellos[number % len(hellos)]}"
                await pod.link.close()


async def same_name(target: Target, count: int) -> None:
    """Hellos under the living worker's name: right ones, of another generation, model, accelerator, count."""
    right = target.hello("worker")
    other = right.model_copy(update={"group": NAME.model_copy(update={"generation": "2"})})
    wrong = [
        target.hello("worker", fingerprint="0"),
        target.hello("worker", accelerator="rocm"),
        target.hello("worker", gpus=8),
        target.hello("head"),
    ]
    await _each_is_refused(target, [right, other, *wrong], count)


async def proofs(target: Target, count: int) -> None:
    """Proofs that are old, another pod's, the head's own, of another token, or none."""
    claim = Claim(pod="worker", group=NAME)
    async with session() as client:
        seen = WorkersSide(target.token, claim, await challenge(client, target.base)).headers()
        taken = await client.ws_connect(target.base + PATH, headers=seen)
        heads = taken._response.headers[PROOF]
        await taken.close()
        for number in range(count):
            fresh = WorkersSide("another token", claim, await challenge(client, target.base)).headers()
            tries = (seen, fresh, fresh | {PROOF: heads}, fresh | {PROOF: ""}, fresh | {PROOF: seen[PROOF]})
            with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                await client.ws_connect(target.base + PATH, headers=tries[number % len(tries)])


async def rogue_member(target: Target, count: int) -> None:
    """A member that was let in, and then sends events, long strings and frames endlessly."""
    async with session() as client:
        for _ in range(5):
            pod = await joining(target, client, target.hello("rogue", instance="1"), target.token)
            assert pod is not None
            with contextlib.suppress(ConnectionError):
                for number in range(count // 5):
                    await pod.send(EngineExited(epoch=number % 3, reason="x" * 900 + "\x1b[2J"))
                    await pod.link.send_str(
                        pod.outgoing.close('{"type":"beat","epoch":0,"state":"' + "y" * 9000 + '"}')
                    )
            await pod.link.close()


async def frames(target: Target, count: int) -> None:
    """Frames of a member that never end a message, ask for an answer each, or are none."""
    kinds = (
        frame(1, b"a", last=False) + frame(0, b"b" * 1000, last=False) * 40,
        frame(9, b"p" * 100) * 400,
        frame(1, gzip.compress(bytes(1 << 20)), reserved=4),
        frame(1, b"\xff" * 15_000),
        b"\x81\xff" + (1 << 62).to_bytes(8, "big") + bytes(4),
    )
    async with session() as client:
        for number in range(count):
            pod = await joining(target, client, target.hello("rogue", instance="1"), target.token)
            if pod is not None:
                transport = pod.link._writer.transport
                assert transport is not None
                transport.write(kinds[number % len(kinds)])
                await asyncio.sleep(0.01)
                transport.abort()
                await pod.link.close()


async def comes_and_goes(target: Target, count: int) -> None:
    """A member that joins and leaves, again and again, under ever new names."""
    async with session() as client:
        for number in range(count):
            pod = await joining(target, client, target.hello(f"rogue-{number}"), target.token)
            if pod is not None:
                with contextlib.suppress(ConnectionError, TypeError):
                    await pod.receive()
                    await pod.send(Leaving(reason="z" * 5000))
                await pod.link.close()


async def together(target: Target, count: int) -> None:
    """All that strangers can do, at once."""
    async with asyncio.TaskGroup() as group:
        for attack in (silent, half_headers, upgrades, challenges, junk):
            group.create_task(attack(target, count))


CASES: Final = {
    "silent": Case("silent connections", silent, 21_000),
    "half-headers": Case("requests that never end", half_headers, 10_000),
    "upgrades": Case("WebSockets of strangers", upgrades, 15_000),
    "upgrades-open": Case("WebSockets of strangers, no token", upgrades, 15_000, token=False),
    "drips": Case("requests a byte at a time", drips, 1_000),
    "challenges": Case("challenges that nobody answers", challenges, 10_000),
    "pipelined": Case("requests sent in one breath", pipelined, 1_000),
    "junk": Case("junk, long lines, large bodies", junk, 5_000),
    "same-name": Case("the living worker's name, no token", same_name, 600, token=False),
    "same-name-token": Case("the living worker's name, with the token", same_name, 600),
    "proofs": Case("old, foreign, reflected and missing proofs", proofs, 1_000),
    "replays": Case("a recorded admission, sent again and reflected", replays, 100, serving=False),
    "rogue-member": Case("events and long strings of a member", rogue_member, 20_000, serving=False),
    "frames": Case("odd frames of a member", frames, 500, serving=False),
    "comes-and-goes": Case("a member that joins and leaves", comes_and_goes, 500, serving=False),
    "together": Case("all that strangers can do, at once", together, 5_000),
    "together-open": Case("the same, no token", together, 5_000, token=False),
}

"""Clients: hundreds that wait for their answers, some that read nothing, some that leave in mid-stream."""

import asyncio
import collections
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from saturate.kinds import Body, Kind, short

Stay = Callable[[asyncio.StreamReader], Awaitable[None]]
_UNREAD: Final = 5
_LEAVERS: Final = 5
_UNREAD_FOR: Final = 60.0
_PATIENCE: Final = 900.0


class Load:
    """What is asked, and what became of it.

    Args:
        api: URL of vLLM.
        kind: what is asked for.
        clients: that wait for answers at the same time.
    """

    def __init__(self, api: str, kind: Kind, clients: int) -> None:
        self._api = api
        self._kind = kind
        self._clients = clients
        self._chance = random.Random(1)
        self._names = list(kind.asks)
        self._weights = [kind.asks[name][0] for name in self._names]
        self.answered: collections.Counter[str] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        self.left = 0
        self.unread = 0

    async def run(self, seconds: float) -> None:
        """Ask for so long; what is under way then is left."""
        limit = aiohttp.ClientTimeout(total=_PATIENCE)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self._api, timeout=limit, connector=connector) as session:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                    for _ in range(self._clients):
                        group.create_task(self._waits(session))
                    for _ in range(_LEAVERS):
                        group.create_task(self._leaves())
                    for _ in range(_UNREAD if self._kind.streams else 0):
                        group.create_task(self._reads_nothing())

    async def _waits(self, session: aiohttp.ClientSession) -> None:
        while True:
            (name,) = self._chance.choices(self._names, self._weights)
            path, body = self._kind.asks[name][1](self._chance)
            try:
                async with session.post(path, json=body) as answer:
                    said = await answer.text()
                    if answer.status == 200:
                        self.answered[name] += 1
                    else:
                        self.refused[f"{name}: {answer.status} {said[:200]}"] += 1
                        await asyncio.sleep(1)
            except (aiohttp.ClientError, ConnectionError) as error:
                self.refused[f"{name}: {error}"] += 1
                await asyncio.sleep(1)

    async def _leaves(self) -> None:
        async def once_it_has_begun(reader: asyncio.StreamReader) -> None:
            # The headers come at once, the first token once it has its turn: it leaves at either.
            await reader.read(64 if self.left % 2 else 1024)
            self.left += 1

        async def before_the_answer(_: asyncio.StreamReader) -> None:
            await asyncio.sleep(self._chance.random())
            self.left += 1

        while True:
            if self._kind.streams:
                await self._stream("leaver", 40, once_it_has_begun)
            else:
                # An answer that does not stream comes whole: it leaves while it waits for its turn.
                path, body = self._kind.asks[self._names[0]][1](self._chance)
                await self._send("leaver", path, body, before_the_answer)

    async def _reads_nothing(self) -> None:
        async def wait(_: asyncio.StreamReader) -> None:
            self.unread += 1
            await asyncio.sleep(_UNREAD_FOR)

        while True:
            await self._stream("reader of nothing", 2000, wait)

    async def _stream(self, name: str, tokens: int, then: Stay) -> None:
        path, body = short(self._chance)
        await self._send(name, path, body | {"max_tokens": tokens}, then)

    async def _send(self, name: str, path: str, body: Body, then: Stay) -> None:
        """Ask, stay for so long, and leave; a connection that fails is counted and costs a second."""
        text = json.dumps(body)
        parts = urlsplit(self._api)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=4096)
            try:
                writer.write(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
                await then(reader)
            finally:
                writer.transport.abort()
        except OSError as error:
            self.refused[f"{name}: {error}"] += 1
            await asyncio.sleep(1)

    def lines(self) -> Iterator[str]:
        """What became of the requests."""
        yield ", ".join(f"{name} {count}" for name, count in sorted(self.answered.items())) + " answered"
        left = "in mid-stream" if self._kind.streams else "before the answer"
        yield f"{self.left} left {left}, {self.unread} read nothing for {_UNREAD_FOR:.0f} s"
        for what, count in self.refused.items():
            yield f"{count} times: {what}"

    def problems(self) -> Iterator[str]:
        """Kinds of request that nobody was answered. What vLLM rejects is told: it is no restart."""
        for name in self._names:
            if not self.answered[name]:
                yield f"no {name} was answered"

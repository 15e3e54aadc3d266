"""Clients of unlike weights: each keeps so many connections open, with a request under way on every one."""

import asyncio
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

_TIMEOUT = 120.0


@dataclass
class Tally:
    """What has become of the requests so far.

    Attributes:
        answered: whole answers.
        cut: answers that had begun and broke off.
        lost: why, of each request that was not answered although no answer had begun.
    """

    answered: int = 0
    cut: int = 0
    lost: list[str] = field(default_factory=list)


class Clients:
    """Send requests from a thread until `end`."""

    def __init__(self, urls: Sequence[str], weights: Sequence[int], tokens: int, pause: float = 0.0) -> None:
        """Prepare; `start` begins.

        Args:
            urls: of the routers; the clients take them in turn.
            weights: connections of each client.
            tokens: of an answer, on average; answers of one length would keep step with each other.
            pause: seconds before a connection's next request, on average.
        """
        self.tally = Tally()
        self._urls, self._weights, self._tokens, self._pause = urls, weights, tokens, pause
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    def end(self) -> None:
        """Let each request end that is under way."""
        self._ending.set()
        self._thread.join(_TIMEOUT)
        assert not self._thread.is_alive(), f"requests did not end within {_TIMEOUT:g} s"

    async def _all(self) -> None:
        connections = [
            self._connection(self._urls[number % len(self._urls)], number)
            for number, weight in enumerate(self._weights)
            for _ in range(weight)
        ]
        await asyncio.gather(*connections)

    async def _connection(self, url: str, client: int) -> None:
        choice = random.Random(client)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(url, timeout=timeout, connector=connector) as session:
            while not self._ending.is_set():
                await asyncio.sleep(2 * self._pause * choice.random())
                tokens = choice.randint(1, 2 * self._tokens - 1)
                prompt = f"{choice.random()} of {client}"
                # Every other answer is streamed.
                await self._request(session, prompt, tokens, stream=choice.random() < 0.5)

    async def _request(
        self, session: aiohttp.ClientSession, prompt: str, tokens: int, *, stream: bool
    ) -> None:
        body = {"model": "llm", "prompt": prompt, "max_tokens": tokens, "stream": stream}
        begun = False
        try:
            async with session.post("/v1/completions", json={**body, "ignore_eos": True}) as answer:
                text = "" if answer.status == 200 else await answer.text()
                if answer.status != 200:
                    self.tally.lost.append(f"{answer.status} {text[:200]}")
                    return
                begun = True
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._broken(repr(error), begun=begun)
            return
        if stream and b"[DONE]" not in content:
            self._broken("the stream ended early", begun=begun)
        else:
            self.tally.answered += 1

    def _broken(self, why: str, *, begun: bool) -> None:
        if begun:
            self.tally.cut += 1
        else:
            self.tally.lost.append(why)

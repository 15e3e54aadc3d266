"""Busy or hung? By progress, never by the length of the queue.

vLLM's `/health` reads one flag and stays 200 while every request hangs, so the watchdog compares: requests
are under way (`/load`, or running + waiting), and no counter of the engine has moved for the hang time-out.
"""

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Final, Self

import aiohttp

log = logging.getLogger(__name__)

_REQUESTS: Final = ("vllm:num_requests_running", "vllm:num_requests_waiting")
_PROGRESS: Final = (
    "vllm:iteration_tokens_total_count",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:request_success_total",
)
# A scheduler without work answers one token in far less.
_CANARY: Final = 15.0
_SAMPLE: Final = re.compile(rf"^({'|'.join(_REQUESTS + _PROGRESS)})(?:{{.*}})? ([-+0-9.eE]+)", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """One look at the engine.

    Attributes:
        load: requests that the API server counts, 0 where it does not count.
        requests: running + waiting in the scheduler.
        progress: sum of the counters that move with every step.
    """

    load: float
    requests: float
    progress: float

    @property
    def busy(self) -> bool:
        """Somebody waits for an answer."""
        return self.load > 0 or self.requests > 0


def parse_metrics(text: str, load: float) -> Sample:
    """The sample in a Prometheus exposition of vLLM's."""
    requests = progress = 0.0
    for name, value in _SAMPLE.findall(text):
        if name in _REQUESTS:
            requests += float(value)
        else:
            progress += float(value)
    return Sample(load=load, requests=requests, progress=progress)


class Progress:
    """Judges a series of samples. Pure; the clock is passed in.

    Args:
        timeout: seconds without progress, with requests under way, that mean hung.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._progress = -1.0
        self._since: float | None = None

    def judge(self, sample: Sample, now: float) -> float | None:
        """Seconds without progress once they exceed the time-out, else None."""
        if not sample.busy or sample.progress != self._progress or self._since is None:
            self._progress = sample.progress
            self._since = now
            return None
        stuck = now - self._since
        return stuck if stuck >= self._timeout else None

    def forgive(self) -> None:
        """Start counting anew."""
        self._since = None


class EngineApi:
    """vLLM's HTTP server on this node, as the supervisor asks it.

    Args:
        port: of the API.
        tls: it speaks HTTPS.
        api_key: what a canary request presents.
        model: what a canary request asks for.
    """

    def __init__(self, port: int, *, tls: bool, api_key: str | None, model: str | None) -> None:
        self._base = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self._model = model
        self._key = api_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # The certificate is for the name that clients use, not for the loopback.
        connector = aiohttp.TCPConnector(ssl=False, limit=4)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def healthy(self, timeout: float = 5) -> bool | None:
        """`/health`: True, False (503: the engine is dead), or None where nothing answers."""
        try:
            status, _ = await self._get("/health", timeout)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        return status == 200

    async def sample(self, timeout: float = 10) -> Sample | None:
        """`/load` and `/metrics` together, or None where they do not answer."""
        try:
            _, load = await self._get("/load", timeout)
            _, metrics = await self._get("/metrics", timeout)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        found = re.search(r'"server_load"\s*:\s*(\d+)', load)
        return parse_metrics(metrics, float(found.group(1)) if found else 0)

    async def canary(self, timeout: float) -> bool:
        """Does the engine answer a request for one token?"""
        assert self._session is not None  # noqa: S101 - used inside `async with`
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        body = {"model": self._model, "prompt": "a", "max_tokens": 1}
        try:
            async with self._session.post(
                f"{self._base}/v1/completions",
                json=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _get(self, path: str, timeout: float) -> tuple[int, str]:
        assert self._session is not None  # noqa: S101 - used inside `async with`
        limit = aiohttp.ClientTimeout(total=timeout)
        async with self._session.get(self._base + path, timeout=limit) as response:
            return response.status, await response.text()


async def watch(api: EngineApi, timeout: float) -> str:
    """Return only when the engine is dead or hung, with the reason.

    Args:
        api: of the engine, which has answered once.
        timeout: seconds, see `Progress`.
    """
    pause = min(max(timeout / 10, 0.2), 5)
    progress = Progress(timeout)
    loop = asyncio.get_running_loop()
    answered = loop.time()
    while True:
        await asyncio.sleep(pause)
        healthy = await api.healthy()
        if healthy is False:
            return "vLLM's /health says that its engine is dead"
        sample = await api.sample() if healthy else None
        now = loop.time()
        if sample is None:
            if now - answered > timeout:
                return f"the API server has not answered for {now - answered:.0f} s"
            continue
        answered = now
        stuck = progress.judge(sample, now)
        if stuck is None:
            continue
        # A request that the API server forgot to count down looks the same; one more request tells.
        if sample.requests == 0 and await api.canary(min(timeout, _CANARY)):
            progress.forgive()
            continue
        waiting = max(sample.load, sample.requests)
        return f"hung: {waiting:.0f} requests under way and no progress for {stuck:.0f} s"

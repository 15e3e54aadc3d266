"""Busy or hung? By the steps of the engine, never by the length of the queue.

vLLM's `/health` reads one flag and stays 200 while every request hangs. What tells is what the scheduler
publishes in `/metrics` after each step (`engines.vllm.STEP_METRICS`): while requests are under way some
of it changes, the fill of the KV cache in a prefill, the counters of tokens afterwards. Where nothing has
changed for most of the hang timeout, one small request is sent. A scheduler that still steps takes it in,
and then the number of requests changes, however full it is.
"""

import asyncio
import json
import logging
import re
from dataclasses import dataclass
from typing import Final, Self

import aiohttp

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.engines.vllm import STEP_METRICS
from vllm_multinode.launcher.network import host_port
from vllm_multinode.launcher.tls import ApiTls

log = logging.getLogger(__name__)

_REQUESTS: Final = ("vllm:num_requests_running", "vllm:num_requests_waiting")
# A scheduler without work answers one token in far less.
_CANARY: Final = 15.0
# Beyond the hang timeout, for the last answer.
_MARGIN: Final = 1.0
# Between two samples: what happens just after one is seen with the next.
_LONGEST_PAUSE: Final = 3.0
_CANARY_POLL: Final = 0.25
_SAMPLE: Final = re.compile(rf"^({'|'.join(STEP_METRICS)})(?:{{.*}})? ([-+0-9.eE]+)", re.MULTILINE)
_LOAD: Final = re.compile(r'"server_load"\s*:\s*(-?\d+)')
# The smallest request of each kind of model; the first one that the server knows is used.
_CANARIES: Final = (
    ("/v1/completions", {"prompt": "a", "max_tokens": 1}),
    ("/pooling", {"input": "a"}),
    ("/v1/embeddings", {"input": "a"}),
    ("/classify", {"input": "a"}),
    ("/score", {"text_1": "a", "text_2": "a"}),
)
_UNKNOWN_ROUTE: Final = (400, 404, 405, 501)


@dataclass(frozen=True)
class Sample:
    """What the engine showed at one moment.

    Attributes:
        load: requests that the API server counts, 0 where it does not count. It may forget to count one down
            (vllm#18784) or count it down twice.
        requests: running + waiting in the scheduler.
        step: the values of `STEP_METRICS`, in the order of the exposition.
    """

    load: float
    requests: float
    step: tuple[float, ...]

    @property
    def busy(self) -> bool:
        """Somebody waits for an answer, as far as the counts can be trusted."""
        return self.load > 0 or self.requests > 0


def parse_metrics(text: str, load: float) -> Sample:
    """The sample in a Prometheus exposition of vLLM's."""
    values = [(name, float(value)) for name, value in _SAMPLE.findall(text)]
    requests = sum(value for name, value in values if name in _REQUESTS)
    return Sample(load=load, requests=requests, step=tuple(value for _, value in values))


class Progress:
    """Judges a series of samples. Pure; the clock is passed in.

    The API server's count is only compared with what it was when the engine was last known to be idle: one
    that has drifted, up or down, neither looks like a request nor hides one.

    Args:
        patience: seconds without a step, with requests under way, after which the engine is to be asked.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._step: tuple[float, ...] | None = None
        self._since = 0.0
        self._idle_load = 0.0
        self._last_load = 0.0
        self._arrived = False

    def judge(self, sample: Sample, now: float) -> float | None:
        """Seconds without a step once they exceed the patience, else None."""
        if sample.step != self._step:
            self._step = sample.step
            self._since = now
            self._arrived = False
        elif sample.load != self._last_load:
            # Requests come or go without a step: even if the count is back at its idle value later.
            self._arrived = True
        self._last_load = sample.load
        if sample.requests <= 0 and sample.load == self._idle_load and not self._arrived:
            self._since = now
        stuck = now - self._since
        return stuck if stuck >= self._patience else None

    def forgive(self, sample: Sample) -> None:
        """The engine has shown that it lives: count from the next sample on.

        Args:
            sample: taken since. Where the scheduler has no request, what `/load` counts is its idle value.
        """
        self._step = None
        if sample.requests <= 0:
            self._idle_load = sample.load
        self._arrived = False


class EngineApi:
    """vLLM's HTTP server on this node, as the supervisor asks it.

    Args:
        port: of the API.
        tls: how it speaks TLS; None for plain HTTP.
        api_key: what a canary request presents.
        model: what a canary request asks for.
        host: that it listens on, as this node reaches it.
    """

    def __init__(
        self,
        port: int,
        *,
        tls: ApiTls | None,
        api_key: str | None,
        model: str | None,
        host: str = "127.0.0.1",
    ) -> None:
        self._base = f"{'http' if tls is None else 'https'}://{host_port(host, port)}"
        self._tls = tls
        self._model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None
        self._stamps: tuple[int, ...] = ()

    async def __aenter__(self) -> Self:
        self._session = self._new_session()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        context = False if self._tls is None else self._tls.client_context()
        self._stamps = () if self._tls is None else self._tls.stamps()
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=4))

    async def _read_certificate_again(self) -> None:
        """vLLM takes over certificates that are replaced (`--enable-ssl-refresh`); so does its supervisor."""
        if self._tls is None or self._tls.stamps() == self._stamps:
            return
        try:
            fresh = self._new_session()
        except MultinodeError as error:
            log.warning("the certificate is not read again: %s", error)
            return
        before, self._session = self._session, fresh
        if before is not None:
            await before.close()

    async def healthy(self, timeout: float = 5) -> bool | None:
        """`/health`: True, False (503: the engine is dead), or None where nothing answers."""
        try:
            status, _ = await self._get("/health", timeout)
        except (aiohttp.ClientError, TimeoutError, OSError):
            await self._read_certificate_again()
            return None
        return status == 200

    async def sample(self, timeout: float = 10) -> Sample | None:
        """`/load` and `/metrics` together, or None where they do not answer."""
        try:
            _, load = await self._get("/load", timeout)
            _, metrics = await self._get("/metrics", timeout)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        counted = _LOAD.search(load)
        return parse_metrics(metrics, float(counted[1]) if counted else 0)

    async def canary(self, timeout: float) -> int | None:
        """Send the smallest request that the server knows; its status, or None where nothing came in time."""
        try:
            async with asyncio.timeout(timeout):
                model = await self._served_name()
                status = 0
                for path, body in _CANARIES:
                    status = await self._post(path, {"model": model, **body})
                    if status not in _UNKNOWN_ROUTE:
                        break
                return status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def _served_name(self) -> str | None:
        """The first name that is served; --served-model-name may have changed it."""
        _, text = await self._get("/v1/models", _CANARY)
        try:
            return str(json.loads(text)["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            return self._model

    async def _post(self, path: str, body: dict[str, object]) -> int:
        assert self._session is not None  # noqa: S101 - used inside `async with`
        async with self._session.post(self._base + path, json=body, headers=self._headers) as response:
            await response.read()
            return response.status

    async def _get(self, path: str, timeout: float) -> tuple[int, str]:
        assert self._session is not None  # noqa: S101 - used inside `async with`
        limit = aiohttp.ClientTimeout(total=timeout)
        async with self._session.get(self._base + path, timeout=limit, headers=self._headers) as response:
            return response.status, await response.text()


async def watch(api: EngineApi, timeout: float) -> str:
    """Return only when the engine is dead or hung, with the reason.

    Args:
        api: of the engine, which has answered once.
        timeout: seconds without a step, with requests under way, after which it counts as hung. The engine is
            asked before, so that its time to answer does not come on top.
    """
    pause = min(max(timeout / 10, 0.2), _LONGEST_PAUSE)
    progress = Progress(max(timeout / 2, timeout - _CANARY))
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
        if await lives(api, sample, timeout + _MARGIN - stuck):
            # After it, because the canary itself may be counted down twice.
            progress.forgive(await api.sample() or sample)
            continue
        waiting, stuck = max(sample.load, sample.requests), stuck + loop.time() - now
        return f"hung: {waiting:.0f} requests under way and no progress for {stuck:.0f} s"


async def lives(api: EngineApi, still: Sample, timeout: float) -> bool:
    """Send one small request, and tell whether the engine shows any sign of life meanwhile.

    Signs are a step of the scheduler, which need not have answered yet, and an answer. An answer counts, an
    error too, as long as the scheduler has no request: with nothing to do, an engine that takes no request of
    ours is not shown to hang.

    Args:
        api: of the engine.
        still: what it has shown so far.
        timeout: seconds for any sign.
    """
    canary = asyncio.create_task(api.canary(timeout))
    try:
        async with asyncio.timeout(timeout):
            while True:
                sample = await api.sample()
                if sample is not None and sample.step != still.step:
                    return True
                if canary.done() and canary.result() is not None and still.requests <= 0:
                    return True
                # Done, it says nothing more; a step may still come.
                await asyncio.sleep(_CANARY_POLL)
    except TimeoutError:
        return False
    finally:
        canary.cancel()
        await asyncio.gather(canary, return_exceptions=True)

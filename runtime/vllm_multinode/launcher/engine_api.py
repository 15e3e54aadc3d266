"""vLLM's HTTP server as the supervisor asks it: its health, what its engine shows, one small request."""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import aiohttp

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.engines.vllm import STEP_METRICS
from vllm_multinode.launcher.addresses import api_host
from vllm_multinode.launcher.arguments import last_value
from vllm_multinode.launcher.network import host_port, own_address
from vllm_multinode.launcher.settings import Settings
from vllm_multinode.launcher.tls import ApiTls, supervisors_tls

log = logging.getLogger(__name__)

_REQUESTS: Final = ("vllm:num_requests_running", "vllm:num_requests_waiting")
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
# Seconds for the list of models.
_NAMES: Final = 15.0


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
        _, text = await self._get("/v1/models", _NAMES)
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


def engine_api(settings: Settings, environment: Mapping[str, str]) -> EngineApi:
    """vLLM's API on this head, as its own arguments set it up."""
    return EngineApi(
        settings.ports.api,
        tls=supervisors_tls(settings),
        api_key=last_value(settings.arguments, "--api-key") or environment.get(env.API_KEY),
        model=settings.model_name or str(settings.model_dir),
        host=api_host(settings.arguments, own_address(settings.pod_ip)),
    )

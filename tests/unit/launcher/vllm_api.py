"""A stand-in of vLLM's API, as the supervisor asks it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from vllm_multinode.launcher.engine_api import EngineApi

METRICS = (Path(__file__).parents[2] / "data" / "vllm_metrics.txt").read_text()
"""Of a real engine that had answered five requests with 64 tokens each."""


@dataclass
class Vllm:
    """What the stand-in of vLLM's API answers."""

    health: int = 200
    load: int = 0
    running: int = 0
    tokens: int = 320
    silent: bool = False
    answers: bool = True
    answer: int = 200
    queues: bool = False
    twice: bool = False
    advances: bool = False
    served: str = "llm"
    pooling: bool = False
    asked: list[dict[str, object]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/load", self._load)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/pooling" if self.pooling else "/v1/completions", self._complete)
        return app

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": self.served}]})

    async def _pause(self) -> None:
        if self.silent:
            await asyncio.Event().wait()

    async def _health(self, _: web.Request) -> web.Response:
        await self._pause()
        return web.Response(status=self.health)

    async def _load(self, _: web.Request) -> web.Response:
        return web.json_response({"server_load": self.load})

    async def _metrics(self, _: web.Request) -> web.Response:
        self.tokens += self.advances
        text = METRICS.replace('running{engine="0",model_name="tiny"} 0.0', f"running 0{self.running}")
        return web.Response(text=text.replace(" 320.0", f" {self.tokens}"))

    async def _complete(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        self.running += self.queues
        if not self.answers:
            await asyncio.Event().wait()
        self.load -= self.twice
        return web.json_response({"choices": []}, status=self.answer)

    @contextlib.asynccontextmanager
    async def served_to(self) -> AsyncIterator[EngineApi]:
        """Serve, to a supervisor that knows the key."""
        server = TestServer(self.application())
        await server.start_server(shutdown_timeout=0.01)
        assert server.port is not None
        async with EngineApi(server.port, tls=None, api_key="s3cret", model="llm") as api:
            yield api
        await server.close()

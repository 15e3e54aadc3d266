"""What a test does inside a real engine: its workers hang, its API server miscounts its load."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

_FOREVER = 3600.0


class Hangs:
    """For --worker-extension-cls: more methods of every worker."""

    def hang(self) -> None:
        """Never answer, as a rank does that waits in a collective."""
        time.sleep(_FOREVER)


class Drifts:
    """For --middleware: `/drift?N` adds N to what `/load` counts, and the server goes on from there."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/drift":
            await self._app(scope, receive, send)
            return
        scope["app"].state.server_load_metrics += int(scope["query_string"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

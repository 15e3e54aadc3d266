"""Inside vLLM's API server: counts requests, and rejects or ends them when the supervisor says so.

vLLM's own server knows neither: on SIGTERM it takes new requests as before, and at its end every stream
breaks off without a word. It loads this class by `--middleware`. No request takes another way; none is read.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

from vllm_multinode.launcher.door import VARIABLE, Command, Door

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLL: Final = 0.05
_STREAM: Final = b"text/event-stream"
# A WebSocket's code for a service that restarts.
_RESTARTING: Final = 1012
_VERDICT: Final = 2.0
"""Seconds that a failure of vLLM's waits for the supervisor, which knows why an engine has died."""
# How vLLM begins an event by which a stream fails.
_FAILURES: Final = (b'data: {"error"', b"event: error")
_SERVERS_FAULT: Final = 500
# Pieces of a refused request's body that are read, so that its sender gets to read the answer.
_PIECES: Final = 256


class RequestDoor:
    """An ASGI middleware around all of vLLM's API.

    Probes, metrics and other GETs pass whatever the supervisor says: it asks them itself.

    Args:
        application: vLLM's.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        path = os.environ.get(VARIABLE)
        self._door = Door(Path(path)) if path else None
        self._answers: set[_Answer] = set()
        self._watcher: asyncio.Task[None] | None = None
        if self._door is not None:
            self._door.attach()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        door = self._door
        asks = scope["type"] == "websocket" or (scope["type"] == "http" and scope["method"] == "POST")
        if door is None or not asks:
            await self._application(scope, receive, send)
        elif door.command is not Command.OPEN:
            door.count(refused=1)
            await _refuse(scope, receive, send, door)
        else:
            await self._pass_on(scope, receive, send, door)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, door: Door) -> None:
        answer = _Answer(scope, send, door)
        self._answers.add(answer)
        door.count(under_way=1)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch(door))
        try:
            await self._application(scope, receive, answer.send)
        except asyncio.CancelledError:
            if not answer.cut or not await answer.last_words():
                raise
            if answer.task is not None:
                answer.task.uncancel()
        finally:
            self._answers.discard(answer)
            door.count(under_way=-1)

    async def _watch(self, door: Door) -> None:
        """While requests are under way: end them when the supervisor says so."""
        while self._answers:
            if door.command is Command.CUT:
                for answer in list(self._answers):
                    answer.end()
            await asyncio.sleep(_POLL)


class _Answer:
    """One request under way."""

    def __init__(self, scope: Scope, send: Send, door: Door) -> None:
        self.task = asyncio.current_task()
        self.cut = False
        self._scope = scope
        self._send = send
        self._door = door
        self._started = False
        self._streams = False
        self._ended = False

    async def send(self, message: Message) -> None:
        """What vLLM sends, as it is; the last answers of a connection close it."""
        if self._fails(message):
            await self._await_verdict()
        if message["type"] == "http.response.start":
            self._started = True
            headers = message.get("headers", ())
            self._streams = any(
                name.lower() == b"content-type" and value.startswith(_STREAM) for name, value in headers
            )
            if self._door.command is not Command.OPEN:
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self._ended = True
        await self._send(message)

    def _fails(self, message: Message) -> bool:
        if message["type"] == "http.response.start":
            return int(message["status"]) >= _SERVERS_FAULT
        return self._streams and bytes(message.get("body", b"")).startswith(_FAILURES)

    async def _await_verdict(self) -> None:
        """Where the engine has died, vLLM says so first, but not why: then `end` cuts this short."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_VERDICT):
                while self._door.command is not Command.CUT:
                    await asyncio.sleep(_POLL)
                # The watcher ends what is under way at its next look.
                await asyncio.Event().wait()

    def end(self) -> None:
        """Stop the work on it; `last_words` follow."""
        if not self.cut and self.task is not None:
            self.cut = True
            self.task.cancel()

    async def last_words(self) -> bool:
        """Tell the client why there is no more; False where HTTP leaves no way to say it."""
        if self._scope["type"] != "http" or (self._started and not self._streams):
            return False
        if not self._ended:
            self._door.count(cut=1)
            if self._started:
                await self._send({"type": "http.response.body", "body": self._event(), "more_body": False})
            else:
                await _answer_503(self._send, self._door)
        return True

    def _event(self) -> bytes:
        """As vLLM tells of an error in mid-stream: each API has its own form."""
        error = _error(self._door)
        if self._scope["path"].endswith(("/messages", "/responses")):
            data = json.dumps({"type": "error", **error})
            return f"event: error\ndata: {data}\n\n".encode()
        return f"data: {json.dumps(error)}\n\ndata: [DONE]\n\n".encode()


def _error(door: Door) -> dict[str, Any]:
    said = {"message": door.reason, "type": "ServiceUnavailableError", "param": None, "code": 503}
    return {"error": said}


async def _answer_503(send: Send, door: Door) -> None:
    body = json.dumps(_error(door)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(door.retry_after).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse(scope: Scope, receive: Receive, send: Send, door: Door) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": _RESTARTING, "reason": door.reason[:40]})
        return
    for _ in range(_PIECES):
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    await _answer_503(send, door)

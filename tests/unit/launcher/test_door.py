"""The page between supervisor and API server, and the middleware that looks at it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from vllm_multinode.launcher.door import VARIABLE, Command, Door
from vllm_multinode.launcher.middleware import Message, Receive, RequestDoor, Scope, Send

Work = Callable[[Send], Awaitable[None]]
POST = {"type": "http", "method": "POST", "path": "/v1/completions"}
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}


class Api:
    """vLLM's API with our middleware around it, and what its clients got.

    Args:
        door: of the supervisor.
        work: what the API does with a request.
    """

    def __init__(self, door: Door, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, str(door.path))
        self.door = door
        self.middleware = self.around(work)

    @staticmethod
    def around(work: Work) -> RequestDoor:
        async def application(_: Scope, __: Receive, send: Send) -> None:
            await work(send)

        return RequestDoor(application)

    async def ask(self, **scope: Any) -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        await self.middleware({**POST, **scope}, receive, send)
        return sent

    async def begin(self, **scope: Any) -> "asyncio.Task[list[Message]]":
        before = self.door.under_way
        task = asyncio.create_task(self.ask(**scope))
        async with asyncio.timeout(10):
            while self.door.under_way == before:
                await asyncio.sleep(0.01)
        return task


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door.create(tmp_path)


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"words"})


async def stream_without_end(send: Send) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
    await asyncio.Event().wait()


async def never(_: Send) -> None:
    await asyncio.Event().wait()


def error_in(body: bytes) -> Any:
    return json.loads(body.decode().removeprefix("data: ").partition("\n")[0])["error"]


async def test_requests_pass_while_the_door_is_open(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(door, answer, monkeypatch)
    assert door.attached
    assert [message["type"] for message in await api.ask()] == ["http.response.start", "http.response.body"]
    assert (door.under_way, door.refused, door.cut) == (0, 0, 0)


async def test_without_a_page_nothing_is_changed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(door, answer, monkeypatch)
    monkeypatch.delenv(VARIABLE)
    api.middleware = Api.around(answer)
    door.order(Command.CLOSED, "stopping", 5)
    assert (await api.ask())[0]["status"] == 200


async def test_a_closed_door_refuses_what_is_new_and_keeps_what_is_under_way(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    async def wait(send: Send) -> None:
        await go_on.wait()
        await answer(send)

    api = Api(door, wait, monkeypatch)
    earlier = await api.begin()
    door.order(Command.CLOSED, "the server is stopping", 7)
    start, body = await api.ask()
    headers = dict(start["headers"])
    assert (start["status"], headers[b"retry-after"], headers[b"connection"]) == (503, b"7", b"close")
    assert error_in(body["body"])["message"] == "the server is stopping"
    assert not await door.empty(0.1)
    go_on.set()
    start, body = await earlier
    assert (start["status"], body["body"]) == (200, b"words")
    # Nor is its connection used again.
    assert (b"connection", b"close") in start["headers"]
    assert await door.empty(1)
    assert (door.refused, door.cut) == (1, 0)


@pytest.mark.parametrize("path", ["/health", "/metrics", "/load", "/v1/models"])
async def test_what_the_supervisor_asks_passes_a_closed_door(
    door: Door, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    api = Api(door, answer, monkeypatch)
    door.order(Command.CLOSED, "stopping", 5)
    assert (await api.ask(method="GET", path=path))[0]["status"] == 200


@pytest.mark.parametrize(
    ("path", "first"),
    [
        pytest.param("/v1/completions", "data: ", id="completions"),
        pytest.param("/v1/messages", "event: error\ndata: ", id="messages"),
    ],
)
async def test_a_stream_that_is_cut_ends_with_an_error_event(
    door: Door, monkeypatch: pytest.MonkeyPatch, path: str, first: str
) -> None:
    api = Api(door, stream_without_end, monkeypatch)
    stream = await api.begin(path=path)
    door.order(Command.CUT, "lost llm-worker: no heartbeat", 5)
    last = (await asyncio.wait_for(stream, 10))[-1]
    assert last["body"].decode().startswith(first)
    assert error_in(last["body"].removeprefix(b"event: error\n")) == {
        "message": "lost llm-worker: no heartbeat",
        "type": "ServiceUnavailableError",
        "param": None,
        "code": 503,
    }
    assert last["more_body"] is False
    assert (door.under_way, door.cut) == (0, 1)


async def test_an_answer_that_has_not_begun_is_a_503_when_it_is_cut(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(door, never, monkeypatch)
    request = await api.begin()
    door.order(Command.CUT, "the engine starts again", 12)
    start, body = await asyncio.wait_for(request, 10)
    assert (start["status"], dict(start["headers"])[b"retry-after"]) == (503, b"12")
    assert error_in(body["body"])["message"] == "the engine starts again"


async def fail(send: Send) -> None:
    await send({"type": "http.response.start", "status": 500, "headers": []})
    await send({"type": "http.response.body", "body": b"EngineCore encountered an issue"})


async def stream_and_fail(send: Send) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
    error = b'data: {"error": {"message": "EngineCore encountered an issue", "code": 500}}\n\n'
    await send({"type": "http.response.body", "body": error, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


@pytest.mark.parametrize("work", [fail, stream_and_fail])
async def test_why_an_engine_died_is_told_instead_of_that_it_did(
    door: Door, monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    api = Api(door, work, monkeypatch)
    request = await api.begin()
    door.order(Command.CUT, "VLLM::Worker_PP0 (process 7) died", 12)
    said = await asyncio.wait_for(request, 10)
    assert error_in(said[-1]["body"])["message"] == "VLLM::Worker_PP0 (process 7) died"
    assert not any(b"EngineCore" in message.get("body", b"") for message in said)


@pytest.mark.parametrize(
    ("work", "last"), [(fail, b"EngineCore encountered an issue"), (stream_and_fail, b"data: [DONE]\n\n")]
)
async def test_a_failure_of_an_engine_that_lives_is_vllms_own(
    door: Door, monkeypatch: pytest.MonkeyPatch, work: Work, last: bytes
) -> None:
    monkeypatch.setattr("vllm_multinode.launcher.middleware._VERDICT", 0.1)
    said = await asyncio.wait_for(Api(door, work, monkeypatch).ask(), 10)
    assert said[-1]["body"] == last
    assert door.cut == 0


async def test_a_plain_answer_that_has_begun_cannot_be_told(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def begin(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    api = Api(door, begin, monkeypatch)
    request = await api.begin()
    door.order(Command.CUT, "x", 1)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(request, 10)
    assert (door.under_way, door.cut) == (0, 0)


async def test_a_request_that_its_server_cancels_is_not_answered(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(door, stream_without_end, monkeypatch)
    request = await api.begin()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert (door.under_way, door.cut) == (0, 0)


async def test_a_websocket_is_closed_as_one_of_a_service_that_restarts(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(door, answer, monkeypatch)
    door.order(Command.CLOSED, "stopping", 5)
    assert await api.ask(type="websocket") == [
        {"type": "websocket.close", "code": 1012, "reason": "stopping"}
    ]


def test_a_long_reason_is_cut_between_characters(door: Door) -> None:
    door.order(Command.CLOSED, "ä" * 2000, 1)
    assert set(door.reason) == {"ä"}


def test_a_page_that_was_left_is_replaced(tmp_path: Path) -> None:
    Door.create(tmp_path).order(Command.CUT, "x", 1)
    door = Door.create(tmp_path)
    assert (door.command, door.reason, door.attached) == (Command.OPEN, "", False)
    assert len(list(tmp_path.iterdir())) == 1
    door.remove()
    assert list(tmp_path.iterdir()) == []

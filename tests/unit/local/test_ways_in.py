"""Ports of this machine, the way from them to a pod, and what a pod's supervisor is asked."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run.localrun import listen
from vllm_multinode.local.world import probe
from vllm_multinode.local.world.proxy import Proxy
from vllm_multinode.local.world.rootfs import outermost


def test_a_taken_port_is_refused_by_number_and_a_default_one_gives_way() -> None:
    with listen(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MultinodeError, match=f"cannot listen on 127.0.0.1:{port}") as refused:
            listen(port)
        assert refused.value.code == ExitCode.PORT_TAKEN
        with listen(None, default=port) as other:
            assert other.getsockname()[1] != port


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A server that answers with what it got, once it has got all of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def through(target: tuple[str, int] | None, payload: bytes) -> bytes:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    proxy = Proxy(listener.detach(), lambda: target)
    await proxy.start()
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(payload)
                await writer.drain()
                writer.write_eof()
                return await reader.read()
            finally:
                writer.transport.abort()
    finally:
        proxy.close()


async def test_both_directions_and_their_ends_pass_the_proxy(echo: int) -> None:
    payload = bytes(range(256)) * 4096
    assert await through(("127.0.0.1", echo), payload) == payload


@pytest.mark.parametrize("target", [None, ("127.0.0.1", 1)], ids=["no-pod", "nobody-listens"])
async def test_where_nobody_answers_the_client_sees_a_reset(target: tuple[str, int] | None) -> None:
    with pytest.raises(ConnectionError):
        await through(target, b"")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        pytest.param(
            b'HTTP/1.1 200 OK\r\n\r\n{"state": "serving", "rank": 1, "members": []}', "serving", id="whole"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n{}", "", id="empty"),
        pytest.param(b"HTTP/1.1 500 Oops\r\n\r\nno", None, id="not-json"),
        pytest.param(b"", None, id="hung-up"),
    ],
)
async def test_a_supervisor_is_asked_for_its_status(answer: bytes, state: str | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"GET /status ")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        said = await probe.ask("127.0.0.1", server.sockets[0].getsockname()[1], 2)
    assert (said.state if said else None) == state


async def test_a_supervisor_that_does_not_answer_costs_the_timeout_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert await probe.ask("127.0.0.1", silent.getsockname()[1], 0.05) is None


def test_only_the_outermost_paths_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    (tmp_path / "link").symlink_to("a/b")
    given = (
        tmp_path / "a/b",
        tmp_path / "a",
        tmp_path / "ab",
        tmp_path / "link",
        tmp_path / "absent",
        Path("/usr"),
    )
    assert outermost(given, tmp_path) == [tmp_path / "a", tmp_path / "ab", tmp_path / "link"]

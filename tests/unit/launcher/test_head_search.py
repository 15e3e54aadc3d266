import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from unit.launcher.pods import settings_of
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.handshake import UnprovenError
from vllm_multinode.launcher.head_search import HeadSearch
from vllm_multinode.launcher.link import LinkEndedError

Join = Callable[[str, int], Awaitable[None]]


@pytest.fixture(autouse=True)
def one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head's name has one address."""
    resolve = socket.getaddrinfo

    def first(host: str, *rest: Any, **more: Any) -> Any:
        return resolve("127.0.0.1" if host == "llm-head.ns.svc" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", first)


def unproven() -> UnprovenError:
    return UnprovenError(ExitCode.TOKEN, "presents no proof.")


def raising(error: Exception | None) -> Join:
    async def join(_address: str, _port: int) -> None:
        if error is not None:
            raise error

    return join


@pytest.mark.parametrize(
    ("host", "said"),
    [
        pytest.param("head..svc", "head..svc.ns.svc is not a host name", id="empty-label"),
        pytest.param("x" * 64, f"{'x' * 64}.ns.svc is not a host name", id="long-label"),
        pytest.param("no-such-head", "no-such-head.ns.svc does not resolve", id="unknown"),
    ],
)
async def test_a_name_that_leads_nowhere(host: str, said: str) -> None:
    search = HeadSearch(settings_of("worker", HEAD_SVC=host), raising(None))
    assert (await search.round()).startswith(said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(LinkEndedError("no heartbeat for 5.1 s"), "head llm-head.ns.svc", id="link-ended"),
        pytest.param(ConnectionRefusedError(111, "Connection refused"), "cannot be reached", id="refused"),
    ],
)
async def test_why_the_last_address_is_no_head(error: Exception, said: str) -> None:
    reason = await HeadSearch(settings_of("worker", HEAD_SVC="llm-head"), raising(error)).round()
    assert said in reason
    assert "heartbeat" in reason or "Connection refused" in reason


async def test_whoever_proves_nothing_is_asked_five_times_in_a_row_with_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    settings = settings_of("worker", HEAD_SVC="llm-head", MULTINODE_TOKEN_FILE=str(tmp_path / "token"))
    search = HeadSearch(settings, raising(unproven()))
    for _ in range(4):
        assert "whoever answers as head llm-head.ns.svc" in await search.round()
    search.proven()
    for _ in range(4):
        await search.round()
    with pytest.raises(MultinodeError) as caught:
        await search.round()
    assert caught.value.code is ExitCode.TOKEN


async def test_without_a_token_the_first_answer_counts() -> None:
    search = HeadSearch(settings_of("worker", HEAD_SVC="llm-head"), raising(unproven()))
    with pytest.raises(MultinodeError):
        await search.round()

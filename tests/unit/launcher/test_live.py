import pytest

from sources.servers import Answer, Server, serve
from vllm_multinode.contract import env
from vllm_multinode.launcher import live


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1)])
def test_what_the_supervisor_answers(monkeypatch: pytest.MonkeyPatch, status: int, expected: int) -> None:
    with serve(Server(lambda asked: Answer(status if asked.path == "/live" else 404))) as server:
        monkeypatch.setenv(env.SUPERVISOR_PORT, server.url.rpartition(":")[2])
        assert live.main() == expected


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 discards, where anything listens at all.
    monkeypatch.setenv(env.SUPERVISOR_PORT, "9")
    assert live.main() == 1

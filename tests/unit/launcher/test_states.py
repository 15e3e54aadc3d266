import logging

import pytest

from vllm_multinode.launcher.states import State, Status


def test_every_change_is_logged_once_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    changes: list[State] = []
    status = Status()
    status.on_change = lambda: changes.append(status.state)
    with caplog.at_level(logging.INFO):
        status.set(State.FORMING, "1 of 2")
        status.set(State.FORMING, "1 of 2")
        status.set(State.FORMING, "2 of 2")
        status.set(State.SERVING)
    assert caplog.messages == ["state: forming (1 of 2)", "state: forming (2 of 2)", "state: serving"]
    assert changes == [State.FORMING, State.FORMING, State.SERVING]
    assert [(change.state, change.reason) for change in status.history] == [
        (State.PREFLIGHT, ""),
        (State.FORMING, "1 of 2"),
        (State.FORMING, "2 of 2"),
        (State.SERVING, ""),
    ]
    assert status.since == status.history[-1].at >= status.history[0].at


def test_having_served_is_remembered() -> None:
    status = Status()
    assert not status.served
    status.set(State.SERVING)
    status.set(State.RECOVERING, "lost w")
    assert status.served


def test_the_history_is_bounded() -> None:
    status = Status()
    for number in range(200):
        status.set(State.FORMING, str(number))
    assert len(status.history) == 50
    assert status.history[-1].reason == "199"

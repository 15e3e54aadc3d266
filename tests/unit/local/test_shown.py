"""What a reader of the live table, the lines and the logs gets to see."""

from typing import Any

import pytest
from rich.console import Console

from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run.display import Lines, table
from vllm_multinode.local.run.foreground import refusal
from vllm_multinode.local.world.protocol import NodeStatus, RunStatus
from vllm_multinode.terminal.durations import age


def node(**changes: Any) -> NodeStatus:
    given: dict[str, Any] = {
        "node": "worker-1",
        "pod": "llm-worker-x",
        "role": "worker",
        "address": "10.77.0.3",
        "process": "running",
    }
    return NodeStatus(**given | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({}, "running", id="no-supervisor-yet"),
        pytest.param({"state": "forming", "reason": "1 of 2"}, "forming 1 of 2", id="forming"),
        pytest.param(
            {"state": "starting", "reason": "epoch 1", "loading": {"done": 3, "total": 8}},
            "starting epoch 1, weights 3/8",
            id="loading",
        ),
        pytest.param({"state": "serving", "cut": True}, "serving, cut off", id="cut"),
        pytest.param({"state": "serving", "process": "frozen"}, "frozen", id="frozen"),
        pytest.param(
            {"process": "restarting", "restarts": 2, "exit_code": 137},
            "restarting 2 (exit 137)",
            id="restarting",
        ),
        pytest.param({"process": "dead", "exit_code": 0}, "dead (exit 0)", id="dead"),
    ],
)
def test_a_node_is_shown_in_a_few_words(changes: dict[str, Any], words: str) -> None:
    assert node(**changes).shown == words


def test_lines_are_written_once_for_each_change() -> None:
    written: list[str] = []
    lines = Lines(written.append)
    for state in ("forming", "forming", "serving"):
        lines.show(RunStatus(run="llm", nodes=(node(state=state),)))
    assert [line.partition("s  ")[2] for line in written] == [
        "worker-1 (llm-worker-x, 10.77.0.3): forming",
        "worker-1 (llm-worker-x, 10.77.0.3): serving",
    ]


def test_the_table_cuts_no_name() -> None:
    console = Console(width=60)
    with console.capture() as captured:
        console.print(
            table(RunStatus(run="llm", nodes=(node(pod="p" * 40, state="serving", since=40.0),)), 100.0)
        )
    assert captured.get().count("p") >= 40
    assert "…" not in captured.get()
    assert "1m00s" in captured.get()


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0s"), (59.9, "59s"), (60, "1m00s"), (754, "12m34s")], ids=str
)
def test_ages_are_short(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"process": "restarting", "exit_code": 22}, ExitCode.SHARD_TRUNCATED, id="refused"),
        pytest.param({"process": "dead", "exit_code": 50}, ExitCode.ENGINE_START, id="engine-never-started"),
        pytest.param({"process": "restarting", "exit_code": 126}, ExitCode.LOCAL_RUN, id="not-started"),
        pytest.param({"process": "restarting", "exit_code": 137}, None, id="killed"),
        pytest.param({"process": "restarting", "exit_code": 1}, None, id="crashed"),
        pytest.param({"process": "running", "exit_code": 12}, ExitCode.EXECUTOR, id="restarted-already"),
        pytest.param({"process": "running", "exit_code": None}, None, id="never-ended"),
    ],
)
def test_a_node_that_refuses_its_settings_gives_its_exit_code(
    changes: dict[str, Any], code: ExitCode | None
) -> None:
    found = refusal(node(termination="multinode: why", **changes))
    assert (found.code if found else None) == code
    assert found is None or str(found) == "worker-1 (llm-worker-x): why"

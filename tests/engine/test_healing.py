"""What ends an epoch, how soon that is noticed, and that the pods stay; the engine is a stand-in."""

import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.conftest import Start
from engine.services import LocalGroup, eventually, service
from engine.stand_ins import StandIns, never_restarted
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.world.protocol import Action

pytestmark = pytest.mark.netns

LOOKS = 20
"""Of the watchdog, at least 0.2 s apart: several times the timeout of a hang."""


@pytest.fixture
def group(start: Start, stand_ins: StandIns, made_model: Path) -> LocalGroup:
    """Two nodes that serve, and a watchdog that is quick."""
    group = start(stand_ins.pods(service(made_model, env={"MULTINODE_HANG_TIMEOUT": "1"})))
    group.wait_until_serving(epoch=1)
    return group


def assert_in_place(group: LocalGroup, **restarts: int) -> None:
    assert {node.node: node.restarts for node in group.nodes} == {"head": 0, "worker-1": 0} | {
        node.replace("_", "-"): count for node, count in restarts.items()
    }


def leave_as_an_engine_does(group: LocalGroup, node: str) -> None:
    """A segment, a socket that nobody listens to any more, and a session of Ray's."""
    (group.shared_memory_folder(node) / "psm_left").write_bytes(bytes(4096))
    folder = group.temporary_folder(node)
    (folder / "ray/session_left/logs").mkdir(parents=True)
    descriptor = os.open(folder, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as opened:
        # The way to the folder is longer than a socket's address may be.
        opened.bind(f"/proc/self/fd/{descriptor}/left")
    os.close(descriptor)


@pytest.mark.parametrize("executor", ["mp", "ray"])
def test_a_killed_worker_is_noticed_at_once(
    start: Start, stand_ins: StandIns, made_model: Path, executor: ExecutorName
) -> None:
    group = start(stand_ins.pods(service(made_model, executor=executor)))
    group.wait_until_serving(epoch=1)
    before = group.act("kill", "worker-1", stay_dead=True)
    eventually(lambda: group.ready() == 503, why=group.shown)
    # Not by its silence: that is what the heartbeat is for, and takes its time.
    assert f"{group.node('worker-1').pod}: its connection ended" in group.noticed(before)
    group.wait_for("recovering")
    eventually(lambda: group.processes("head", "_stand_in") == [], why=group.shown)
    group.act("start", "worker-1")
    assert group.wait_until_serving(epoch=2)["recoveries"] == 1
    assert_in_place(group)
    # Two processes of each program, one of which left its parent, and nothing of the first epoch.
    assert len(group.processes("head", "_stand_in")) == (2 if executor == "mp" else 4)
    assert len(group.shared_memory("head")) == 1


@pytest.mark.parametrize(("harm", "undo"), [("freeze", "thaw"), ("cut", "join")])
def test_a_silent_worker_is_noticed_by_its_heartbeat(group: LocalGroup, harm: Action, undo: Action) -> None:
    before = group.act(harm, "worker-1")
    eventually(lambda: group.ready() == 503, why=group.shown)
    assert "no heartbeat" in group.noticed(before)
    group.act(undo, "worker-1")
    group.wait_until_serving(epoch=2)
    assert_in_place(group)


def test_a_worker_whose_head_is_gone_stops_its_engine_and_joins_the_next(
    group: LocalGroup, stand_ins: StandIns
) -> None:
    leave_as_an_engine_does(group, "head")
    group.act("kill", "head", stay_dead=True)
    eventually(lambda: group.processes("worker-1", "vllm_stand_in") == [], why=group.shown)
    eventually(lambda: group.shared_memory("worker-1") == set(), why=group.shown)
    assert group.ready("worker-1") == 503
    group.act("start", "head")
    # A new head starts counting from zero.
    group.wait_until_serving(epoch=1)
    assert_in_place(group)
    assert len(stand_ins.starts("worker-1")) == 2
    # A killed container cannot clean up: its successor has, and the segment is its own engine's.
    (segment,) = group.shared_memory("head")
    assert segment != "psm_left"
    assert not {"left", "ray/session_left"} & group.temporary("head")


@pytest.mark.parametrize("node", ["head", "worker-1"])
def test_an_engine_that_ends_with_status_0_has_failed(
    group: LocalGroup, stand_ins: StandIns, node: str
) -> None:
    stand_ins.tell(node, exit=0, start=1)
    status = group.wait_until_serving(epoch=2)
    assert f"{group.node(node).pod}: vllm exited with status 0" in status["last_incident"]
    assert [len(stand_ins.starts(one)) for one in ("head", "worker-1")] == [2, 2]
    assert_in_place(group)


def test_an_engine_that_says_it_is_dead_is_started_anew(group: LocalGroup, stand_ins: StandIns) -> None:
    stand_ins.tell("head", dead=True, start=1)
    assert "/health says" in group.wait_until_serving(epoch=2)["last_incident"]


@pytest.mark.parametrize("node", ["head", "worker-1"])
def test_a_stopped_process_of_the_engine_is_noticed(group: LocalGroup, node: str) -> None:
    os.kill(group.processes(node, "vllm_stand_in")[0], signal.SIGSTOP)
    assert "is stopped (SIGSTOP)" in group.wait_until_serving(epoch=2)["last_incident"]
    assert_in_place(group)


@pytest.mark.parametrize("spy", [pytest.param(True, id="py-spy"), pytest.param(False, id="faulthandler")])
def test_a_hung_engine_is_started_anew_and_its_stacks_are_logged(
    group: LocalGroup, stand_ins: StandIns, threads: ThreadPoolExecutor, spy: bool
) -> None:
    if not spy:
        stand_ins.take_spy()
    stand_ins.tell("head", hold=True, stuck=True, start=1)
    request = threads.submit(group.ask)
    status = group.wait_until_serving(epoch=2)
    assert "hung: 1 requests under way" in status["last_incident"]
    # The request that does not come back, the API that waits for others, and the worker that waits for both.
    frames = {"head": ("complete", "serve_forever", "main"), "worker-1": ("wait", "main")}
    for node, names in frames.items():
        stacks = group.log(node).partition("stacks of the engine's processes follow")[2]
        assert "vllm_stand_in.py" in stacks, group.log(node)
        for name in names:
            assert re.search(rf"line \d+ in {name}\b|\b{name} \(", stacks), (name, stacks)
    with pytest.raises(MultinodeError, match="no completion"):
        request.result(10)
    assert group.ask().text == "words"


def test_a_busy_engine_is_left_alone(
    group: LocalGroup, stand_ins: StandIns, threads: ThreadPoolExecutor
) -> None:
    stand_ins.tell("head", hold=True)
    request = threads.submit(group.ask)
    eventually(lambda: group.api("/looks") >= LOOKS, why=group.shown)
    assert group.api("/load") == {"server_load": 1}
    status = group.status()
    assert (status["state"], status["epoch"]) == ("serving", 1)
    stand_ins.tell("head")
    assert request.result(10).text == "words"


def test_a_request_that_was_never_counted_down_is_no_hang(group: LocalGroup, stand_ins: StandIns) -> None:
    stand_ins.tell("head", load=1)
    eventually(lambda: group.api("/looks") >= LOOKS, why=group.shown)
    status = group.status()
    assert (status["state"], status["epoch"]) == ("serving", 1)
    # Or the group would wait for it at its end.
    stand_ins.tell("head")


@pytest.mark.parametrize("node", ["head", "worker-1"])
def test_an_engine_that_ends_at_once_three_times_ends_the_head(
    start: Start, stand_ins: StandIns, made_model: Path, node: str
) -> None:
    stand_ins.tell(node, refuse=[0, "RuntimeError: no room for the KV cache"])
    group = start(never_restarted(stand_ins.pods(service(made_model))))
    head = group.wait_for_end("head")
    assert head.exit_code == ExitCode.ENGINE_START
    assert "failed to start 3 times" in head.termination
    assert group.node(node).pod in head.termination
    assert "RuntimeError: no room for the KV cache" in head.termination
    assert "\n" not in head.termination
    assert len(stand_ins.starts(node)) == 3
    eventually(lambda: group.processes("worker-1", "vllm_stand_in") == [], why=group.shown)
    assert group.node("worker-1").process == "running"


def test_recoveries_that_do_not_hold_end_the_head(
    start: Start, stand_ins: StandIns, made_model: Path
) -> None:
    limits = {"MULTINODE_HANG_TIMEOUT": "1", "MULTINODE_RECOVERY_ATTEMPTS": "2"}
    group = start(never_restarted(stand_ins.pods(service(made_model, env=limits))))
    for epoch in (1, 2, 3):
        group.wait_until_serving(epoch=epoch)
        stand_ins.tell("head", dead=True, start=epoch)
    head = group.wait_for_end("head")
    assert head.exit_code == ExitCode.RECOVERY_BUDGET
    assert "3 recoveries in a row" in head.termination

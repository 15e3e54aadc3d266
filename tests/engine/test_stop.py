"""SIGTERM: running requests finish, and nothing is left; the engine is a stand-in."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.conftest import Start
from engine.services import LocalGroup, eventually, service
from engine.stand_ins import StandIns
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.local.run.ask import Answer

pytestmark = pytest.mark.netns


def serving(start: Start, stand_ins: StandIns, model: Path, **env: str) -> LocalGroup:
    group = start(stand_ins.pods(service(model, env=env)))
    group.wait_until_serving(epoch=1)
    return group


def long_request(group: LocalGroup, stand_ins: StandIns, threads: ThreadPoolExecutor) -> Future[Answer]:
    """A request that the engine works on until it is told otherwise."""
    stand_ins.tell("head", hold=True)
    request = threads.submit(group.ask)
    eventually(lambda: group.api("/load") == {"server_load": 1}, why=group.shown)
    return request


def assert_nothing_left(group: LocalGroup, node: str) -> None:
    assert group.processes(node, "_stand_in") == []
    assert group.shared_memory(node) == set()


def test_a_head_drains(
    start: Start, stand_ins: StandIns, made_model: Path, threads: ThreadPoolExecutor
) -> None:
    group = serving(start, stand_ins, made_model)
    request = long_request(group, stand_ins, threads)
    stopped = threads.submit(group.act, "stop", "head")
    group.wait_for("draining")
    assert group.ready() == 503
    assert not request.done()
    assert group.processes("worker-1", "vllm_stand_in")
    stand_ins.tell("head")
    assert request.result(10).text == "words"
    stopped.result(30)
    head = group.node("head")
    assert (head.process, head.exit_code, head.termination) == ("dead", 0, "")
    assert_nothing_left(group, "head")
    eventually(lambda: group.processes("worker-1", "vllm_stand_in") == [], why=group.shown)
    assert_nothing_left(group, "worker-1")
    assert group.node("worker-1").restarts == 0


def test_a_drain_is_bounded(
    start: Start, stand_ins: StandIns, made_model: Path, threads: ThreadPoolExecutor
) -> None:
    group = serving(start, stand_ins, made_model, MULTINODE_DRAIN_TIMEOUT="1")
    request = long_request(group, stand_ins, threads)
    group.act("stop", "head", grace=60)
    assert group.node("head").exit_code == 0
    with pytest.raises(MultinodeError, match="no completion"):
        request.result(10)
    assert_nothing_left(group, "head")


def test_a_leaving_worker_lets_running_requests_finish(
    start: Start, stand_ins: StandIns, made_model: Path, threads: ThreadPoolExecutor
) -> None:
    group = serving(start, stand_ins, made_model)
    leaver = group.node("worker-1").pod
    request = long_request(group, stand_ins, threads)
    stopped = threads.submit(group.act, "stop", "worker-1")
    eventually(lambda: group.ready() == 503, why=group.shown)
    eventually(lambda: f"{leaver} is leaving" in group.status()["reason"], why=group.shown)
    assert not request.done()
    assert group.processes("worker-1", "vllm_stand_in")
    stand_ins.tell("head")
    assert request.result(10).text == "words"
    stopped.result(30)
    worker = group.node("worker-1")
    assert (worker.process, worker.exit_code) == ("dead", 0)
    assert_nothing_left(group, "worker-1")
    group.act("replace", "worker-1")
    status = group.wait_until_serving(epoch=2)
    assert leaver not in [member["name"] for member in status["members"]]
    assert group.node("head").restarts == 0


def test_a_worker_that_never_joined_stops_at_once(
    start: Start, stand_ins: StandIns, made_model: Path
) -> None:
    _, worker = stand_ins.pods(service(made_model))
    group = start([worker])
    group.wait_for("forming", "worker-1")
    group.act("stop", "worker-1")
    assert group.node("worker-1").exit_code == 0

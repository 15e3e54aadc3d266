"""What is broken, and what must be seen of it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from engine.services import LocalGroup
from vllm_multinode.contract.executors import EXECUTOR_NAMES, ExecutorName

HEARTBEAT: Final = 5.0
"""Seconds; the launcher's own default."""
DEATH: Final = 1.0
SILENCE: Final = HEARTBEAT + 1.0

Undo = Callable[[], object]


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes:
        what: is broken, for people.
        act: breaks it, and returns what ends the fault.
        noticed: seconds within which the head is not ready; None for what must not be noticed at all.
        words: what the head's reason must hold; `{head}` and `{worker}` are pods' names.
        lasts: seconds until the fault ends; None for until it is noticed.
        executors: under which it can happen.
        told: whether an API server is left that can tell its clients.
        new_head: the head itself goes, so that its successor counts epochs from 1.
        graceful: no request that began may be lost.
    """

    what: str
    act: Callable[[LocalGroup], Undo]
    noticed: float | None
    words: str = ""
    lasts: float | None = None
    executors: tuple[ExecutorName, ...] = EXECUTOR_NAMES
    told: bool = True
    new_head: bool = False
    graceful: bool = False


def _signal(group: LocalGroup, node: str, words: tuple[str, ...], number: signal.Signals) -> list[int]:
    """Signal the first process of the node that has one of the words in its title."""
    pids = next(filter(None, (group.processes(node, word) for word in words)), [])
    assert pids, f"no process of {node} has one of {words} in its title"
    os.kill(pids[-1], number)
    return pids[-1:]


def killed(node: str, *words: str) -> Callable[[LocalGroup], Undo]:
    """SIGKILL to one process of the engine."""

    def act(group: LocalGroup) -> Undo:
        _signal(group, node, words, signal.SIGKILL)
        return _nothing

    return act


def stopped(node: str, *words: str) -> Callable[[LocalGroup], Undo]:
    """SIGSTOP to one process; the epoch's end kills it."""

    def act(group: LocalGroup) -> Undo:
        pids = _signal(group, node, words, signal.SIGSTOP)

        def undo() -> None:
            for pid in pids:
                if os.path.exists(f"/proc/{pid}"):  # noqa: PTH110 - no file is meant
                    os.kill(pid, signal.SIGCONT)

        return undo

    return act


def node_killed(node: str) -> Callable[[LocalGroup], Undo]:
    """Everything on it at once; it starts again in place."""

    def act(group: LocalGroup) -> Undo:
        group.act("kill", node)
        return _nothing

    return act


def frozen(node: str) -> Callable[[LocalGroup], Undo]:
    """Every process of the node stands still."""

    def act(group: LocalGroup) -> Undo:
        group.act("freeze", node)
        return partial(group.act, "thaw", node)

    return act


def cut(node: str) -> Callable[[LocalGroup], Undo]:
    """Its network link is down."""

    def act(group: LocalGroup) -> Undo:
        group.act("cut", node)
        return partial(group.act, "join", node)

    return act


def disturbed(node: str, *netem: str) -> Callable[[LocalGroup], Undo]:
    """Its network link loses or delays packets, as tc's netem says."""

    def act(group: LocalGroup) -> Undo:
        inside = ("nsenter", "-n", "-t", str(group.processes(node, "multinode")[0]))
        queue = ("dev", "eth0", "root")
        subprocess.run([*inside, "tc", "qdisc", "add", *queue, "netem", *netem], check=True)
        return partial(subprocess.run, [*inside, "tc", "qdisc", "del", *queue], check=True)

    return act


def shared_memory_filled(node: str) -> Callable[[LocalGroup], Undo]:
    """/dev/shm has no room left."""

    def act(group: LocalGroup) -> Undo:
        path = group.shared_memory_folder(node) / "filled-by-somebody"
        with path.open("wb") as file:
            try:
                while file.write(b"\0" * (1 << 20)):
                    file.flush()
            except OSError:
                pass
        return partial(path.unlink, missing_ok=True)

    return act


def replaced(node: str) -> Callable[[LocalGroup], Undo]:
    """The pod is deleted, and another one with another name and address comes."""

    def act(group: LocalGroup) -> Undo:
        group.act("replace", node, grace=0)
        return _nothing

    return act


def asked_to_stop(node: str) -> Callable[[LocalGroup], Undo]:
    """SIGTERM, as at a pod's deletion; it starts again once it has ended."""

    def act(group: LocalGroup) -> Undo:
        group.act("stop", node)
        return partial(group.act, "start", node)

    return act


def killed_again(node: str, *words: str) -> Callable[[LocalGroup], Undo]:
    """A process of the engine, and the whole node as soon as the next epoch starts."""

    def act(group: LocalGroup) -> Undo:
        epoch = group.status()["epoch"]
        _signal(group, node, words, signal.SIGKILL)

        def again() -> None:
            group.wait_for("starting", epoch=epoch + 1)
            group.act("kill", node)

        return again

    return act


_WORKER: Final = ("VLLM::Worker", "ray::RayWorker")
_RAY: Final[tuple[ExecutorName, ...]] = ("ray",)

CASES: Final = {
    "worker-process-killed": Case(
        "a worker process on a worker node is killed", killed("worker-1", *_WORKER), DEATH, "{worker}"
    ),
    "head-process-killed": Case(
        "the worker process on the head is killed", killed("head", *_WORKER), DEATH, "{head}"
    ),
    "engine-core-killed": Case(
        "EngineCore is killed", killed("head", "VLLM::EngineCore"), DEATH, "{head}: VLLM::EngineCore"
    ),
    "api-server-killed": Case(
        "the API server is killed",
        killed("head", "bin/vllm"),
        DEATH,
        "{head}: vllm was killed by SIGKILL",
        told=False,
    ),
    "raylet-killed": Case(
        "a worker's raylet is killed", killed("worker-1", "raylet/raylet"), DEATH, "{worker}", executors=_RAY
    ),
    "gcs-killed": Case("Ray's GCS is killed", killed("head", "gcs_server"), DEATH, "{head}", executors=_RAY),
    "worker-process-stopped": Case(
        "a worker process on a worker node is stopped",
        stopped("worker-1", *_WORKER),
        SILENCE,
        "{worker}: VLLM::",
        executors=("mp",),
    ),
    "engine-core-stopped": Case(
        "EngineCore is stopped", stopped("head", "VLLM::EngineCore"), SILENCE, "{head}: VLLM::EngineCore"
    ),
    "supervisor-stopped": Case(
        "a worker's supervisor alone is stopped", stopped("worker-1", "multinode"), SILENCE, "{worker}"
    ),
    "node-killed": Case(
        "a worker's node is killed", node_killed("worker-1"), DEATH, "{worker}: its connection ended"
    ),
    "head-killed": Case("the head's node is killed", node_killed("head"), None, told=False, new_head=True),
    "node-frozen": Case(
        "a worker's node is frozen for 10 s", frozen("worker-1"), SILENCE, "{worker}: no heartbeat", lasts=10
    ),
    "node-frozen-shortly": Case("a worker's node is frozen for 3 s", frozen("worker-1"), None, lasts=3),
    "head-frozen-shortly": Case("the head's node is frozen for 3 s", frozen("head"), None, lasts=3),
    "link-cut": Case(
        "a worker's link is cut for 10 s", cut("worker-1"), SILENCE, "{worker}: no heartbeat", lasts=10
    ),
    "link-cut-shortly": Case("a worker's link is cut for 3.5 s", cut("worker-1"), None, lasts=3.5),
    "packets-lost": Case(
        "a worker's link loses 5 % of packets for 15 s", disturbed("worker-1", "loss", "5%"), None, lasts=15
    ),
    "many-packets-lost": Case(
        "a worker's link loses 20 % of packets for 15 s", disturbed("worker-1", "loss", "20%"), None, lasts=15
    ),
    "packets-delayed": Case(
        "a worker's packets are 200 ms late for 15 s", disturbed("worker-1", "delay", "200ms"), None, lasts=15
    ),
    "shared-memory-filled": Case(
        "/dev/shm of the head is filled for 5 s", shared_memory_filled("head"), None, lasts=5
    ),
    "head-asked-to-stop": Case(
        "the head is asked to stop", asked_to_stop("head"), None, new_head=True, graceful=True
    ),
    "worker-asked-to-stop": Case(
        "a worker is asked to stop",
        asked_to_stop("worker-1"),
        DEATH,
        "{worker} is leaving",
        graceful=True,
    ),
    "killed-while-it-recovers": Case(
        "a worker process, and its node during the recovery",
        killed_again("worker-1", *_WORKER),
        DEATH,
        "{worker}",
    ),
    "worker-replaced": Case("a worker's pod is replaced", replaced("worker-1"), DEATH, "{worker}"),
}


def wait_out(case: Case, began: float) -> None:
    """Until the fault has lasted as long as it is to."""
    time.sleep(max(0.0, began + (case.lasts or 0.0) - time.time()))

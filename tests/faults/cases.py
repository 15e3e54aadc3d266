"""What is broken, and what must be seen of it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from faults import acts, memory, model, network
from faults.acts import Act
from vllm_multinode.contract import env
from vllm_multinode.contract.executors import EXECUTOR_NAMES, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode

HEARTBEAT: Final = 5.0
"""Seconds; the launcher's own default."""
DEATH: Final = 1.0
SILENCE: Final = HEARTBEAT + 1.0


HANG: Final = 10.0
"""Seconds; of the groups in which something hangs, instead of 120."""
HUNG: Final = HANG + 5.0
"""Seconds within which a hang is noticed."""


_LOADS: Final = ("idle", "light", "saturating")


@dataclass(frozen=True)
class Group:
    """What a group is like.

    Attributes:
        nodes: of it, each a pipeline stage.
        variables: of every pod's environment.
    """

    nodes: int = 2
    variables: tuple[tuple[str, str], ...] = ()


GRACE: Final = 100.0
"""Seconds of a pod's end, for answers that take as long but for the teardown."""
USUAL: Final = Group(variables=((env.RECOVERY_ATTEMPTS, "100"),))
_THREE: Final = Group(3, USUAL.variables)
_QUICK_TO_HANG: Final = Group(variables=(*USUAL.variables, (env.HANG_TIMEOUT, f"{HANG:g}")))
_QUICK_TO_END: Final = Group(variables=((env.RECOVERY_ATTEMPTS, "2"), (env.MEMBER_TIMEOUT, "10")))


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
        group: in which it is tried.
        loads: under which it is tried.
        recoveries: that follow each other.
        prepare: done before anything is measured; what it returns is done at the end.
        observer: the node whose readiness tells that it was noticed.
    """

    what: str
    act: Act
    noticed: float | None
    words: str = ""
    lasts: float | None = None
    executors: tuple[ExecutorName, ...] = EXECUTOR_NAMES
    told: bool = True
    new_head: bool = False
    graceful: bool = False
    group: Group = USUAL
    loads: tuple[str, ...] = _LOADS
    recoveries: int = 1
    prepare: Act | None = None
    observer: str = "head"


_WORKER: Final = ("VLLM::Worker", "ray::RayWorker")
_RAY: Final[tuple[ExecutorName, ...]] = ("ray",)
_OUT_OF_MEMORY: Final = memory.OutOfMemory("worker-1", *_WORKER)

CASES: Final[dict[str, Case]] = {
    "worker-process-killed": Case(
        "a worker process on a worker node is killed", acts.killed("worker-1", *_WORKER), DEATH, "{worker}"
    ),
    "head-process-killed": Case(
        "the worker process on the head is killed", acts.killed("head", *_WORKER), DEATH, "{head}"
    ),
    "engine-core-killed": Case(
        "EngineCore is killed", acts.killed("head", "VLLM::EngineCore"), DEATH, "{head}: VLLM::EngineCore"
    ),
    "api-server-killed": Case(
        "the API server is killed",
        acts.killed("head", "bin/vllm"),
        DEATH,
        "{head}: vllm was killed by SIGKILL",
        told=False,
    ),
    "raylet-killed": Case(
        "a worker's raylet is killed",
        acts.killed("worker-1", "raylet/raylet"),
        DEATH,
        "{worker}",
        executors=_RAY,
    ),
    "gcs-killed": Case(
        "Ray's GCS is killed", acts.killed("head", "gcs_server"), DEATH, "{head}", executors=_RAY
    ),
    "worker-process-stopped": Case(
        "a worker process on a worker node is stopped",
        acts.stopped("worker-1", *_WORKER),
        SILENCE,
        "{worker}: ",
    ),
    "head-process-stopped": Case(
        "the worker process on the head is stopped", acts.stopped("head", *_WORKER), SILENCE, "{head}: "
    ),
    "api-server-stopped": Case(
        "the API server is stopped", acts.stopped("head", "bin/vllm"), SILENCE, "{head}: ", told=False
    ),
    "raylet-stopped": Case(
        "a worker's raylet is stopped",
        acts.stopped("worker-1", "raylet/raylet"),
        SILENCE,
        "{worker}: ",
        executors=_RAY,
    ),
    "head-raylet-killed": Case(
        "the head's raylet is killed",
        acts.killed("head", "raylet/raylet"),
        DEATH,
        "{head}: ",
        executors=_RAY,
    ),
    "gcs-stopped": Case(
        "Ray's GCS is stopped", acts.stopped("head", "gcs_server"), SILENCE, "{head}: ", executors=_RAY
    ),
    "engine-core-stopped": Case(
        "EngineCore is stopped", acts.stopped("head", "VLLM::EngineCore"), SILENCE, "{head}: VLLM::EngineCore"
    ),
    "supervisor-stopped": Case(
        "a worker's supervisor alone is stopped", acts.stopped("worker-1", "multinode"), SILENCE, "{worker}"
    ),
    "head-supervisor-stopped": Case(
        "the head's supervisor alone is stopped",
        acts.stopped("head", "multinode"),
        SILENCE,
        "head ",
        observer="worker-1",
    ),
    "node-killed": Case(
        "a worker's node is killed", acts.node_killed("worker-1"), DEATH, "{worker}: its connection ended"
    ),
    "head-killed": Case(
        "the head's node is killed",
        acts.node_killed("head"),
        DEATH,
        "head ",
        told=False,
        new_head=True,
        observer="worker-1",
    ),
    "head-replaced": Case(
        "the head's pod is replaced, with another name and address",
        acts.replaced("head"),
        DEATH,
        "head ",
        told=False,
        new_head=True,
        observer="worker-1",
    ),
    "head-frozen": Case(
        "the head's node is frozen for 10 s",
        acts.frozen("head"),
        SILENCE,
        "head ",
        lasts=10,
        observer="worker-1",
    ),
    "node-frozen": Case(
        "a worker's node is frozen for 10 s",
        acts.frozen("worker-1"),
        SILENCE,
        "{worker}: no heartbeat",
        lasts=10,
    ),
    "node-frozen-shortly": Case("a worker's node is frozen for 3 s", acts.frozen("worker-1"), None, lasts=3),
    "head-frozen-shortly": Case("the head's node is frozen for 3 s", acts.frozen("head"), None, lasts=3),
    "link-cut": Case(
        "a worker's link is cut for 10 s",
        network.cut("worker-1"),
        SILENCE,
        "{worker}: no heartbeat",
        lasts=10,
    ),
    "head-link-cut": Case(
        "the head's link is cut for 10 s",
        network.cut("head"),
        SILENCE,
        "head ",
        lasts=10,
        observer="worker-1",
    ),
    "head-link-cut-shortly": Case("the head's link is cut for 3.5 s", network.cut("head"), None, lasts=3.5),
    "link-cut-shortly": Case("a worker's link is cut for 3.5 s", network.cut("worker-1"), None, lasts=3.5),
    "packets-lost": Case(
        "a worker's link loses 5 % of packets for 15 s",
        network.lossy("worker-1", 5),
        None,
        lasts=15,
    ),
    "many-packets-lost": Case(
        "a worker's link loses 20 % of packets for 15 s",
        network.lossy("worker-1", 20),
        None,
        lasts=15,
    ),
    "packets-delayed": Case(
        "a worker's packets are 200 ms late for 15 s",
        network.late("worker-1", 200),
        None,
        lasts=15,
    ),
    "shared-memory-filled": Case(
        "/dev/shm of the head is filled for 5 s", memory.shared_memory_filled("head"), None, lasts=5
    ),
    "head-asked-to-stop": Case(
        "the head is asked to stop",
        acts.asked_to_stop("head"),
        None,
        new_head=True,
        graceful=True,
        loads=(*_LOADS, "long"),
    ),
    "worker-asked-to-stop": Case(
        "a worker is asked to stop",
        acts.asked_to_stop("worker-1"),
        DEATH,
        "{worker} is leaving",
        graceful=True,
        loads=(*_LOADS, "long"),
    ),
    "killed-while-it-recovers": Case(
        "a worker process, and its node during the recovery",
        acts.killed_again("worker-1", *_WORKER),
        DEATH,
        "{worker}",
    ),
    "out-of-memory": Case(
        "the kernel kills a worker process because its container has no memory left",
        _OUT_OF_MEMORY.act,
        DEATH,
        "killed by the kernel because the container's memory limit",
        prepare=_OUT_OF_MEMORY.prepare,
    ),
    "shared-memory-too-small": Case(
        "a worker's node is killed, and its /dev/shm is too small until it has said so",
        memory.shared_memory_too_small("worker-1"),
        DEATH,
        "{worker}: its connection ended",
        loads=("idle", "light"),
    ),
    "stale-generation": Case(
        "a worker's node is killed while a worker of another generation asks for a place",
        acts.node_killed("worker-1"),
        DEATH,
        "{worker}: its connection ended",
        prepare=acts.beside("belongs to generation 7", **{env.GENERATION: "7"}),
    ),
    "same-name": Case(
        "for 15 s a second pod has a living worker's name",
        acts.waits,
        None,
        lasts=15,
        prepare=acts.beside("is a member already", named_as="worker-1"),
    ),
    "disk-full": Case(
        "/tmp and the caches of all nodes are full for 5 s",
        memory.disk_full("head", "worker-1"),
        None,
        lasts=5,
    ),
    "disk-full-at-a-loss": Case(
        "a worker process is killed, and /tmp and the caches are full for 5 s",
        memory.disk_full_and("head", "worker-1", then=acts.killed("worker-1", *_WORKER)),
        DEATH,
        "{worker}",
        lasts=5,
    ),
    "model-truncated": Case(
        "a weight file is truncated, and a process killed",
        model.damaged(model.shortened, acts.killed("worker-1", *_WORKER), ExitCode.SHARD_TRUNCATED),
        None,
        new_head=True,
        loads=("idle", "light"),
    ),
    "model-removed": Case(
        "a weight file is removed, and a process killed",
        model.damaged(Path.unlink, acts.killed("head", *_WORKER), ExitCode.SHARD_ABSENT),
        None,
        new_head=True,
        loads=("idle", "light"),
    ),
    "model-changed": Case(
        "other weights stand in the model's place, and a worker's node is killed",
        model.changed(acts.node_killed("worker-1")),
        DEATH,
        "{worker}",
        loads=("idle", "light"),
    ),
    "ten-in-a-row": Case(
        "a worker process is killed ten times, each time that the group serves",
        acts.killed_in_a_row(10, "worker-1", *_WORKER),
        DEATH,
        "{worker}",
        loads=("light",),
        recoveries=10,
    ),
    "poison": Case(
        "a request during which EngineCore dies, three times",
        acts.poisoned(3, "VLLM::EngineCore"),
        float("inf"),
        "{head}: VLLM::EngineCore",
        loads=("light",),
        recoveries=3,
    ),
    "clock-stepped": Case(
        "the clock is stepped by an hour",
        acts.impossible("Linux has no namespace for the wall clock, and the machine's own is everybody's"),
        None,
        loads=("idle",),
    ),
    "worker-replaced": Case("a worker's pod is replaced", acts.replaced("worker-1"), DEATH, "{worker}"),
    "two-nodes-killed": Case(
        "two of three nodes are killed at once",
        acts.all_killed("worker-1", "worker-2"),
        DEATH,
        "; lost",
        group=_THREE,
    ),
    "engine-cut-off": Case(
        "what a worker's engine sends is lost, and nothing dies or stops",
        network.only_supervisors_talk("worker-1"),
        HUNG,
        "",
        group=_QUICK_TO_HANG,
        loads=("light", "saturating"),
    ),
    "engine-cut-off-idle": Case(
        "the same for 15 s, without a request",
        network.only_supervisors_talk("worker-1"),
        None,
        lasts=15,
        group=_QUICK_TO_HANG,
        loads=("idle",),
    ),
    "worker-never-returns": Case(
        "a worker's node is killed and stays away",
        acts.never_returns("worker-1"),
        None,
        new_head=True,
        group=_QUICK_TO_END,
        loads=("idle", "light"),
    ),
    "never-heals": Case(
        "a worker process is killed whenever the group serves",
        acts.killed_until_the_end(3, "worker-1", *_WORKER),
        None,
        new_head=True,
        group=_QUICK_TO_END,
        loads=("light",),
    ),
}


def wait_out(case: Case, began: float) -> None:
    """Until the fault has lasted as long as it is to."""
    time.sleep(max(0.0, began + (case.lasts or 0.0) - time.time()))

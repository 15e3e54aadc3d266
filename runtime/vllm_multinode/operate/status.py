"""What a service does, node by node, from an observation. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from vllm_multinode.cluster import pod_states
from vllm_multinode.cluster.diagnosis import state_words
from vllm_multinode.cluster.snapshot import is_head
from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.launcher.settings import Sizes
from vllm_multinode.launcher.sizes import stages_of_node
from vllm_multinode.operate import numbers
from vllm_multinode.operate.observation import Observation, Place, pod_name
from vllm_multinode.operate.reading import (
    Change,
    Recovery,
    changes,
    incidents,
    items,
    number,
    restarts_of,
    text,
    unix,
    whole,
)
from vllm_multinode.operate.troubles import troubles
from vllm_multinode.platforms.names import GPU_RESOURCES

_SILENT: Final = "no answer"
_MOST: Final = 4096
"""Ranks of a group; whoever says more is not a supervisor of ours."""


class RankStatus(Frozen):
    """One node of the group.

    Attributes:
        rank: None where the node has none yet, or nobody who knows it could be asked.
        role: head or worker.
        pod: its name.
        group: the pod of its head; empty where nobody can tell.
        stages: of the pipeline that it computes, from 0; empty where nobody can tell.
        node: the machine that it runs on; empty before it is scheduled.
        address: of the pod.
        state: the supervisor's word, or the pod's where no supervisor answered.
        reason: why, where it does not serve.
        gpus: accelerators of the pod.
        accelerator: their kind.
        version: of vLLM.
        silent_s: seconds since its head last heard of it; 0 for the head itself.
        weights: part of its weights that is loaded, 0 to 1.
        restarts: of its containers.
        round_trip_ms: least of the latest ones between its supervisor and the head's.
    """

    rank: int | None
    role: str
    pod: str
    group: str = ""
    stages: tuple[int, ...] = ()
    node: str = ""
    address: str = ""
    state: str
    reason: str = ""
    gpus: int | None = None
    accelerator: str = ""
    version: str = ""
    silent_s: float | None = None
    weights: float | None = None
    restarts: int = 0
    round_trip_ms: float | None = None


class LinkStatus(Frozen):
    """The way from one node to the next, as it was before the engine started.

    Attributes:
        source: pod that sent.
        target: pod that received.
        round_trip_ms: of a byte.
        gbit_s: 10^9 bits per second, by TCP, while all nodes sent.
        reason: why there is no number.
    """

    source: str
    target: str
    round_trip_ms: float | None = None
    gbit_s: float | None = None
    reason: str = ""


class EngineStatus(Frozen):
    """What the engine of one head counts.

    Attributes:
        pod: of the head.
        cache_used: part of the KV cache in use, 0 to 1.
        running: requests in the scheduler's batch.
        waiting: requests in its queue.
        preemptions: since its start.
    """

    pod: str
    cache_used: float | None = None
    running: int | None = None
    waiting: int | None = None
    preemptions: int | None = None


class ServiceStatus(Frozen):
    """One service, now.

    Attributes:
        place: cluster or local.
        kind: of its object.
        name: its name.
        namespace: its namespace.
        serving: requests are answered.
        state: in a word, the head's where it answers.
        since: Unix time of that state's begin, in seconds; None where nobody knows it.
        reason: why it does not serve; empty where it does.
        executor: of the group.
        tensor_parallel: of the group.
        pipeline_parallel: of the group.
        nodes: that the group has when it is complete; None where nobody knows.
        ranks: what is there, the head first.
        engines: one for each head that was asked.
        links: the ways between the nodes, by rank, where they were measured.
        recoveries: since the head's supervisor began to count.
        recoveries_by_cause: the same, by what ended the engine.
        incidents: the latest ones, the newest last.
        history: the states that its head's supervisor went through, the newest last.
        generation: of the object's spec.
        url: where clients reach it.
        entrance: how to send a request, a line each.
        unseen: what could not be looked at, and why.
    """

    place: Place
    kind: str
    name: str
    namespace: str
    serving: bool
    state: str
    since: float | None = None
    reason: str = ""
    executor: str = ""
    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    nodes: int | None = None
    ranks: tuple[RankStatus, ...] = ()
    engines: tuple[EngineStatus, ...] = ()
    links: tuple[LinkStatus, ...] = ()
    recoveries: int = 0
    recoveries_by_cause: dict[str, int] = Field(default={})
    incidents: tuple[Recovery, ...] = ()
    history: tuple[Change, ...] = ()
    generation: int | None = None
    url: str = ""
    entrance: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


def status_of(seen: Observation) -> ServiceStatus:
    """What a service does."""
    snapshot, said = seen.snapshot, seen.head_status
    serving = snapshot.ready
    state, reason, since = _state(seen, serving=serving)
    return ServiceStatus(
        place=seen.place,
        kind=snapshot.kind,
        name=snapshot.name,
        namespace=snapshot.namespace,
        serving=serving,
        state=state,
        since=since,
        reason=reason,
        executor=text(said, "executor"),
        tensor_parallel=whole(said, "tensor_parallel"),
        pipeline_parallel=whole(said, "pipeline_parallel"),
        nodes=whole(said, "nodes"),
        ranks=_ranks(seen),
        engines=tuple(_engine(pod, found) for pod, found in seen.engines.items() if found is not None),
        links=tuple(_link(found) for one in seen.supervisors.values() for found in items(one, "wire")),
        recoveries=whole(said, "recoveries") or 0,
        recoveries_by_cause=_counts(said.get("recoveries_by_cause")),
        incidents=tuple(incidents(said)),
        history=tuple(changes(said)),
        generation=snapshot.generation or None,
        url=snapshot.url,
        entrance=seen.entrance,
        unseen=seen.unseen,
    )


def _state(seen: Observation, *, serving: bool) -> tuple[str, str, float | None]:
    """State, reason, and since when."""
    said, snapshot = seen.head_status, seen.snapshot
    if said:
        state = text(said, "state") or "unknown"
        reason = text(said, "reason") or text(said, "refused")
        if state == "serving" and not serving:
            reason = "the service is being deleted" if snapshot.deleting else state_words(snapshot)
        return state, "" if serving else reason, number(said, "since")
    condition = snapshot.condition("Ready") or snapshot.condition("Available")
    since = unix(condition.get("lastTransitionTime"))
    if serving:
        return "serving", "", since
    why = next((f"{one.subject} {one.what}" for one in troubles(seen)), "")
    waiting = next((pod for pod in snapshot.current if not pod_states.ready(pod)), None)
    if waiting is not None:
        words = pod_states.words(waiting)
        return words, why or f"pod {pod_name(waiting)}: {words}", since
    known = bool(snapshot.current) or not snapshot.pods_seen
    return "not ready" if known else "no pods", why or state_words(snapshot), since


def _ranks(seen: Observation) -> tuple[RankStatus, ...]:
    members = {
        text(member, "name"): (member, head, said)
        for head, said in seen.supervisors.items()
        for member in items(said, "members")
    }
    unknown: tuple[Mapping[str, Any], str, Mapping[str, Any]] = ({}, "", {})
    ranks = [_rank(seen, pod, *members.get(pod_name(pod), unknown)) for pod in seen.snapshot.current]
    return tuple(
        sorted(ranks, key=lambda one: (one.rank is None, one.rank or 0, one.role != "head", one.pod))
    )


def _rank(
    seen: Observation, pod: Object, member: Mapping[str, Any], group: str, said: Mapping[str, Any]
) -> RankStatus:
    own = seen.supervisors.get(pod_name(pod), {})
    state = text(own, "state") or text(member, "state") or pod_states.words(pod)
    head = is_head(pod)
    # The head asks itself for nothing: it has heard of itself now.
    silent = number(member, "silent_s") if member else None
    if head and own:
        silent = 0.0
    rank = whole(member, "rank") if member else whole(own, "rank")
    return RankStatus(
        rank=rank,
        role="head" if head else "worker",
        pod=pod_name(pod),
        group=group or _group(seen, pod),
        stages=_stages(said, rank),
        node=str((pod.get("spec") or {}).get("nodeName") or ""),
        address=str((pod.get("status") or {}).get("podIP") or ""),
        state=state if state != "no answer" else _SILENT,
        reason=text(own, "reason"),
        gpus=whole(member, "gpus") or gpus_of(pod),
        accelerator=text(member, "accelerator"),
        version=text(member.get("versions") or {}, "vllm"),
        silent_s=silent,
        weights=_weights(own.get("loading") or member.get("loading"), state),
        restarts=restarts_of(pod),
        round_trip_ms=number(member, "round_trip_ms") if member else None,
    )


def _link(found: Mapping[str, Any]) -> LinkStatus:
    return LinkStatus(
        source=text(found, "from"),
        target=text(found, "to"),
        round_trip_ms=number(found, "round_trip_ms"),
        gbit_s=number(found, "gbit_s"),
        reason=text(found, "reason"),
    )


def _group(seen: Observation, pod: Object) -> str:
    """The head of a pod that is no member yet: the only one, or the one whose name its own begins with."""
    heads = [pod_name(head) for head in seen.heads]
    if len(heads) == 1:
        return heads[0]
    return next((head for head in heads if f"{pod_name(pod)}-".startswith(f"{head}-")), "")


def _stages(said: Mapping[str, Any], rank: int | None) -> tuple[int, ...]:
    """The pipeline stages of a rank's node."""
    counts = [whole(said, key) for key in ("tensor_parallel", "pipeline_parallel", "nodes")]
    if rank is None or not all(count is not None and 0 < count <= _MOST for count in counts):
        return ()
    tensor_parallel, pipeline_parallel, nodes = (int(count or 1) for count in counts)
    if not 0 <= rank < nodes:
        return ()
    sizes = Sizes(tensor_parallel=tensor_parallel, pipeline_parallel=pipeline_parallel, nodes=nodes)
    return tuple(stages_of_node(sizes, rank))


def _weights(loading: Any, state: str) -> float | None:
    """Part of the weights that is loaded: all of them where the group serves."""
    if state == "serving":
        return 1.0
    if isinstance(loading, dict):
        done, total = number(loading, "done"), number(loading, "total")
        if done is not None and total:
            return min(1.0, done / total)
    return None


def _engine(pod: str, found: numbers.Numbers) -> EngineStatus:
    def count(*names: str) -> int | None:
        value = found.total(*names)
        return None if value is None else int(value)

    return EngineStatus(
        pod=pod,
        cache_used=found.highest(*numbers.CACHE_USED),
        running=count(numbers.RUNNING),
        waiting=count(numbers.WAITING),
        preemptions=count(numbers.PREEMPTIONS),
    )


def _counts(found: Any) -> dict[str, int]:
    if not isinstance(found, dict):
        return {}
    counts = {str(key): whole(found, key) for key in found}
    return {key: count for key, count in counts.items() if count is not None}


def gpus_of(pod: Object) -> int | None:
    """Accelerators that a pod's containers are given; None where they are given none that is known."""
    given = [
        int(str(value))
        for container in (pod.get("spec") or {}).get("containers") or []
        for name, value in ((container.get("resources") or {}).get("limits") or {}).items()
        if name in GPU_RESOURCES and is_count(str(value))
    ]
    return sum(given) or None

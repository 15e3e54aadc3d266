"""What is wrong with a group whose pods run, from its supervisors' own words. Pure."""

from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from vllm_multinode.cluster import pod_states
from vllm_multinode.cluster.pod_states import Trouble, of_cause
from vllm_multinode.cluster.transport import Object
from vllm_multinode.operate.observation import Observation, pod_name
from vllm_multinode.operate.reading import RECENT, incidents, items, number, restarts_of, text, unix
from vllm_multinode.terminal.durations import age

SILENT: Final = 2.5
"""Seconds; heartbeats come several times within MULTINODE_HEARTBEAT_TIMEOUT, whose default is 5."""
_OFTEN: Final = 3
_LATE: Final = 60.0
_SLOW: Final = 0.5
"""Gbit/s, half of what the slowest network of any cluster gives."""
_FAR: Final = 5.0
"""Milliseconds of a round trip; nodes of one zone are well below 1 ms apart."""
_BEHIND: Final = 8
"""How many times as fast the group's other ways are: networks are 10 times apart (1, 10 or 100 Gbit/s)."""
_FAST: Final = 10.0
"""Gbit/s from which TCP is bound by processors, and says little of the network."""


def of_group(seen: Observation) -> Iterator[Trouble]:
    """What keeps a group from serving, the likeliest cause first, and what is worth knowing."""
    for pod in seen.heads:
        name = pod_name(pod)
        if name in seen.silent:
            what = "runs, but its supervisor does not answer."
            yield of_cause("head-silent", f"pod {name}", what)
        elif name in seen.supervisors:
            yield from _of_head(seen, name, seen.supervisors[name])
    if seen.place == "local":
        yield from _of_nodes(seen)


def of_pods(seen: Observation) -> Iterator[Trouble]:
    """What is wrong with pods and claims beyond what a pod itself tells."""
    mounted = {name for pod in seen.snapshot.current for name in _claims(pod)}
    for name in sorted(mounted & seen.claims.keys()):
        phase = (seen.claims[name].get("status") or {}).get("phase")
        if phase == "Lost":
            yield of_cause("claim-lost", f"claim {name}", "has lost its volume.")
        elif phase == "Pending":
            storage = (seen.claims[name].get("spec") or {}).get("storageClassName")
            of = f" of class {storage}" if storage else ""
            yield of_cause("claim-unbound", f"claim {name}", f"is not bound to a volume{of}.")
    for pod in seen.snapshot.pods:
        due = unix(pod["metadata"].get("deletionTimestamp"))
        if due is not None and seen.now - due > _LATE:
            what = f"should have been gone {age(seen.now - due)} ago."
            yield of_cause("stuck-terminating", f"pod {pod_name(pod)}", what)
    restarted = {pod_name(pod): restarts_of(pod) for pod in seen.snapshot.current}
    if restarts := ", ".join(f"{name} {count}" for name, count in restarted.items() if count):
        yield of_cause("restarted", seen.title, f"has restarted containers: {restarts} times.")
    if seen.snapshot.stuck:
        what = "is complete, but KServe reports Ready=Unknown."
        yield of_cause("ready-unknown", seen.title, what)


def _of_head(seen: Observation, name: str, said: Any) -> Iterator[Trouble]:
    subject, state, reason = f"pod {name}", text(said, "state"), text(said, "reason")
    if state == "failed":
        yield of_cause("group-failed", subject, f"has given up: {reason}")
    if state in ("forming", "recovering"):
        if refused := text(said, "refused"):
            yield of_cause("worker-refused", subject, f"refuses a worker: {refused}")
        yield from _missing(seen, said)
    if state == "draining":
        yield of_cause("draining", subject, f"ends: {reason}")
    if state == "preflight" and "waiting for the model" in reason:
        yield of_cause("model-fetched", subject, f"is {reason}.")
    yield from _wire(said)
    for member in items(said, "members"):
        silent = number(member, "silent_s")
        if silent is not None and silent > SILENT:
            what = f"has not been heard of for {silent:.1f} s."
            yield of_cause("member-silent", f"pod {text(member, 'name')}", what)
    if state == "recovering":
        yield of_cause("recovering", subject, f"recovers: {reason or text(said, 'last_incident')}")
    if state == "serving":
        yield from _serving(seen, subject, said)


def _wire(said: Any) -> Iterator[Trouble]:
    """Ways between nodes that are slow by themselves, or beside the others."""
    ways = [(one, number(one, "gbit_s"), number(one, "round_trip_ms")) for one in items(said, "wire")]
    for way, speed, trip in ways:
        subject = f"pod {text(way, 'from')} to pod {text(way, 'to')}"
        others = [one for other, one, _ in ways if other is not way and one is not None]
        usual = median(others) if others else 0.0
        if trip is not None and trip >= _FAR:
            yield of_cause("slow-wire", subject, f"is a round trip of {trip:.3g} ms away.")
        elif speed is not None and speed < _FAST and speed * _BEHIND < usual:
            what = f"carries {speed:.3g} Gbit/s, and the group's other ways {usual:.3g} Gbit/s."
            yield of_cause("slow-wire", subject, what)
        elif speed is not None and speed < _SLOW:
            yield of_cause("slow-wire", subject, f"carries {speed:.3g} Gbit/s.")


def _serving(seen: Observation, subject: str, said: Any) -> Iterator[Trouble]:
    recent = [one for one in incidents(said) if one.at and seen.now - one.at < RECENT]
    if len(recent) >= _OFTEN:
        what = f"has recovered {len(recent)} times within an hour; the last: {recent[-1].reason}"
        yield of_cause("recovers-often", subject, what)
    if text(said, "authentication") == "none" and seen.place == "cluster":
        yield of_cause("no-token", subject, "runs a group without a token.")


def _missing(seen: Observation, said: Any) -> Iterator[Trouble]:
    nodes = number(said, "nodes")
    members = {text(member, "name") for member in items(said, "members")}
    if nodes is None or len(members) >= nodes:
        return
    others = [pod for pod in seen.snapshot.current if pod_name(pod) not in members]
    named = ", ".join(f"{pod_name(pod)} ({pod_states.words(pod)})" for pod in others)
    missing = int(nodes) - len(members)
    what = f"waits for {missing} of {nodes:.0f} nodes: {named or 'there are no pods for them'}."
    yield of_cause("nodes-missing", seen.title, what)


def _of_nodes(seen: Observation) -> Iterator[Trouble]:
    """What the local runner knows of its nodes."""
    for pod in seen.snapshot.current:
        said = seen.supervisors.get(pod_name(pod), {})
        node = str((pod.get("spec") or {}).get("nodeName"))
        if text(said, "state") == "frozen":
            yield of_cause("node-frozen", f"node {node}", "is frozen.", f"multinode local thaw {node}")
        elif node in seen.cut:
            yield of_cause("node-cut", f"node {node}", "is cut off.", f"multinode local join {node}")


def _claims(pod: Object) -> Iterator[str]:
    for volume in (pod.get("spec") or {}).get("volumes") or []:
        if name := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            yield str(name)

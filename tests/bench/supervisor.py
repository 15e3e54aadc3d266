"""What the supervisor costs, idle and under load, and how quickly it answers a probe then."""

import json
import sys
import time
from pathlib import Path
from statistics import median, quantiles

from bench import prober
from bench.load import saturating
from bench.members import cpu_seconds, resident_mib
from bench.nodes import Nodes, nodes
from bench.report import Figure
from vllm_multinode.contract import ports
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.local.world.pod_spec import PodSpec
from vllm_multinode.local.world.protocol import Request

_IDLE = 30.0
_PROBES = 2000
_PACED = 1000
_PROBER_ENDS = 300.0


def measure(model: Path, executor: ExecutorName) -> list[Figure]:
    """Resident memory, idle CPU, CPU a probe, p99 while the engine is saturated."""
    with nodes("launcher", executor, model) as group:
        group.first_completion()
        pids = {role: supervisor_of(group, role) for role in ("head", "worker")}
        before = {role: cpu_seconds(pid) for role, pid in pids.items()}
        time.sleep(_IDLE)
        figures = []
        for role, pid in pids.items():
            idle = (cpu_seconds(pid) - before[role]) / _IDLE * 100
            figures += [
                Figure(f"{executor}: {role}'s supervisor, resident", resident_mib(pid), "MiB", "at most 60"),
                Figure(f"{executor}: {role}'s supervisor, idle", idle, "%", "at most 1 of a core"),
            ]
        figures += _probes(group, pids["head"], model, executor)
    return figures


def _probes(group: Nodes, head: int, model: Path, executor: ExecutorName) -> list[Figure]:
    children = _children(head)
    before = cpu_seconds(head)
    _ask(group, _PROBES, 0)
    each = (cpu_seconds(head) - before) / _PROBES * 1000
    started = len(_children(head) - children)
    with saturating(group.api, model):
        times = _ask(group, _PACED, 0.02)
    percentile = quantiles(times, n=100)[98] * 1000
    return [
        Figure(f"{executor}: CPU of a probe", each, "ms", "at most 2"),
        Figure(f"{executor}: processes started by {_PROBES} probes", started, "", "0"),
        Figure(f"{executor}: median of a probe, engine saturated", median(times) * 1000, "ms", ""),
        Figure(f"{executor}: p99 of a probe, engine saturated", percentile, "ms", "at most 10"),
    ]


def _ask(group: Nodes, count: int, pause: float) -> list[float]:
    """Seconds that each GET of the head's /ready took, asked from a pod beside it."""
    client = group.run.client
    head = client.status().head
    if head is None:
        raise ProcessLookupError("no head")
    where = f"http://{head.address}:{ports.SUPERVISOR}/ready"
    argv = (sys.executable, prober.__file__, where, str(count), str(pause))
    spec = PodSpec(node="prober", role="worker", generate_name="prober-", argv=argv, restart="never")
    client.ask(Request(command="add", spec=spec))
    try:
        pod = _wait_for_end(group)
        return list(map(float, json.loads((group.run.directory.logs / f"{pod}.log").read_text())))
    finally:
        client.ask(Request(command="remove", node="prober"))


def _wait_for_end(group: Nodes) -> str:
    """Wait until the prober has ended; returns its pod's name."""
    for status in group.run.client.watch(_PROBER_ENDS):
        for node in status.nodes:
            if node.node == "prober" and node.process == "dead":
                return node.pod
    raise TimeoutError(f"the prober did not end within {_PROBER_ENDS:.0f} s")


def supervisor_of(group: Nodes, role: str) -> int:
    """Process id of a role's supervisor: the first process of its node, seen from here."""
    for pid in sorted(below(group.run.process.pid)):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if any(word.endswith(b"/multinode") for word in command) and role.encode() in command:
            return pid
    raise ProcessLookupError(f"no supervisor of the {role}")


def below(pid: int) -> set[int]:
    """A process and all that descend from it."""
    table = _parents()
    found = {pid}
    while grown := {one for one, parent in table.items() if parent in found} - found:
        found |= grown
    return found


def _parents() -> dict[int, int]:
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            table[int(entry.name)] = int(fields[1])
    return table


def _children(pid: int) -> set[int]:
    return {child for child, parent in _parents().items() if parent == pid}

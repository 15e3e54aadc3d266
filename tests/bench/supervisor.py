"""What the supervisor costs, idle and under load, and how quickly it answers a probe then."""

import asyncio
import os
import time
from pathlib import Path
from statistics import quantiles

import aiohttp

from bench.load import saturating
from bench.members import resident_mib
from bench.nodes import Nodes, nodes
from bench.report import Figure
from vllm_multinode.contract.kserve import Executor

_IDLE = 30.0
_PROBES = 2000
_PACED = 1000
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(model: Path, executor: Executor) -> list[Figure]:
    """Resident memory, idle CPU, CPU a probe, p99 while the engine is saturated."""
    with nodes("launcher", executor, model) as group:
        group.first_completion()
        pids = {role: _supervisor(group, role) for role in ("head", "worker")}
        before = {role: _cpu(pid) for role, pid in pids.items()}
        time.sleep(_IDLE)
        figures = []
        for role, pid in pids.items():
            idle = (_cpu(pid) - before[role]) / _IDLE * 100
            figures += [
                Figure(f"{executor}: {role}'s supervisor, resident", resident_mib(pid), "MiB", "at most 60"),
                Figure(f"{executor}: {role}'s supervisor, idle", idle, "%", "at most 1 of a core"),
            ]
        figures += _probes(group, pids["head"], model, executor)
    return figures


def _probes(group: Nodes, head: int, model: Path, executor: Executor) -> list[Figure]:
    children = _children(head)
    before = _cpu(head)
    asyncio.run(_ask(group.supervisor, _PROBES, 0))
    each = (_cpu(head) - before) / _PROBES * 1000
    started = len(_children(head) - children)
    with saturating(group.api, model):
        times = asyncio.run(_ask(group.supervisor, _PACED, 0.02))
    percentile = quantiles(times, n=100)[98] * 1000
    return [
        Figure(f"{executor}: CPU of a probe", each, "ms", "at most 2"),
        Figure(f"{executor}: processes started by {_PROBES} probes", started, "", "0"),
        Figure(f"{executor}: p99 of a probe, engine saturated", percentile, "ms", "at most 10"),
    ]


async def _ask(url: str, count: int, pause: float) -> list[float]:
    """Time GET /ready, a connection each, as a kubelet does it."""
    times = []
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(count):
            began = time.perf_counter()
            async with session.get(f"{url}/ready") as response:
                await response.read()
            times.append(time.perf_counter() - began)
            await asyncio.sleep(pause)
    return times


def _supervisor(group: Nodes, role: str) -> int:
    """Process id of a role's supervisor: the first process of its node, seen from here."""
    world = group.run.process.pid
    table = _parents()
    below = {world}
    while grown := {pid for pid, parent in table.items() if parent in below} - below:
        below |= grown
    for pid in sorted(below):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if any(word.endswith(b"/multinode") for word in command) and role.encode() in command:
            return pid
    raise ProcessLookupError(f"no supervisor of the {role}")


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


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS

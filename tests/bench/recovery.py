"""How long a recovery takes with and without importing vLLM again, beside a start by hand in the same run."""

import os
import signal
import time
from pathlib import Path
from statistics import median

from bench.nodes import LEAN, Nodes, nodes
from bench.report import Figure
from vllm_multinode.contract import env
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.launcher.proc import descendants

_WORKER = (b"VLLM::Worker", b"ray::RayWorker")


def measure(model: Path, executor: ExecutorName, rounds: int) -> list[Figure]:
    """A worker process is killed, with warm restarts off and on, in turn with starts by hand."""
    by_hand: list[float] = []
    again: dict[str, list[float]] = {"cold": [], "warm": []}
    whole: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(rounds):
        with nodes("by hand", executor, model, LEAN) as group:
            by_hand.append(group.first_completion())
        for way, value in (("cold", "false"), ("warm", "true")):
            with nodes("launcher", executor, model, LEAN, variables={env.WARM_RESTART: value}) as group:
                whole[way].append(group.first_completion())
                again[way].append(group.first_completion_after(_kill_a_worker(group)))
    hand = median(by_hand)
    figures = [Figure(f"{executor}: first completion by hand", hand, "s", "")]
    for way, wanted in (("cold", "at most 1.1"), ("warm", "at most 0.35")):
        begin = f"{executor}, {way}: "
        figures += [
            Figure(f"{begin}first completion", median(whole[way]) / hand, "x", ""),
            Figure(f"{begin}serving again after a worker process is killed", median(again[way]), "s", ""),
            Figure(f"{begin}the same", median(again[way]) / hand, "x", wanted),
        ]
    return figures


def _kill_a_worker(group: Nodes) -> float:
    """SIGKILL to the last of the engine's worker processes; returns `time.monotonic()` of just before."""
    found = [pid for pid in descendants(group.run.process.pid) if _title(pid).startswith(_WORKER)]
    before = time.monotonic()
    os.kill(max(found), signal.SIGKILL)
    return before


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""

"""From nothing to the first completion, and from a killed worker back to it."""

from pathlib import Path
from statistics import median

from bench.nodes import LEAN, PLAIN, nodes
from bench.report import Figure
from vllm_multinode.contract.executors import ExecutorName


def measure(model: Path, executor: ExecutorName, rounds: int) -> list[Figure]:
    """Cold starts and recoveries, ours and by hand in turn, so that a noisy machine is noisy for both."""
    by_hand: list[float] = []
    same: list[float] = []
    plain: list[float] = []
    ours: list[float] = []
    again: list[float] = []
    for _ in range(rounds):
        with nodes("by hand", executor, model, LEAN) as group:
            by_hand.append(group.first_completion())
        with nodes("launcher", executor, model, LEAN, fork=False) as group:
            same.append(group.first_completion())
            killed = group.act("kill")
            again.append(group.first_completion_after(killed))
        with nodes("by hand", executor, model, PLAIN) as group:
            plain.append(group.first_completion())
        with nodes("launcher", executor, model) as group:
            ours.append(group.first_completion())
    hand = median(by_hand)
    name = f"{executor}: "
    return [
        Figure(f"{name}first completion by hand", hand, "s", ""),
        Figure(f"{name}first completion, same engine arguments", median(same) / hand, "x", "at most 1.03"),
        Figure(f"{name}serving again after the worker is killed", median(again) / hand, "x", "at most 1.1"),
        Figure(f"{name}first completion by hand, vLLM's defaults", median(plain), "s", ""),
        Figure(f"{name}first completion, our defaults", median(ours) / median(plain), "x", "at most 0.75"),
        Figure(f"{name}first completion, our defaults", median(ours), "s", ""),
    ]

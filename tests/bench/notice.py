"""How soon a node that is gone is noticed, while nothing is under way."""

from pathlib import Path
from typing import Literal

from bench.nodes import LEAN, nodes, wait_for_status
from bench.report import Figure
from vllm_multinode.contract.executors import ExecutorName

HEARTBEAT = 5.0
_BY_HAND_FOR = 30.0
_BACK = 300.0


def measure(model: Path, executor: ExecutorName) -> list[Figure]:
    """Readiness after a kill, a freeze and a cut; and what a plain `vllm serve` says."""
    figures = []
    with nodes("launcher", executor, model) as group:
        group.first_completion()
        ready = f"{group.supervisor}/ready"
        cases: tuple[tuple[Literal["kill", "freeze", "cut"], Literal["thaw", "join"] | None, str], ...] = (
            ("kill", None, "at most 1"),
            ("freeze", "thaw", f"at most {HEARTBEAT:g} + 1"),
            ("cut", "join", f"at most {HEARTBEAT:g} + 1"),
        )
        for action, undo, wanted in cases:
            if wait_for_status(ready, 200, _BACK) is None:
                raise TimeoutError(f"not ready again before {action}")
            before = group.act(action)
            noticed = wait_for_status(ready, 503, 60)
            value = noticed - before if noticed is not None else float("inf")
            figures.append(Figure(f"{executor}: readiness 503 after {action}", value, "s", wanted))
            if undo is not None:
                group.act(undo)
    with nodes("by hand", executor, model, LEAN) as group:
        group.first_completion()
        before = group.act("kill")
        noticed = wait_for_status(f"{group.api}/health", 503, _BY_HAND_FOR)
        value = noticed - before if noticed is not None else float("inf")
        what = f"{executor}: by hand, /health 503 after kill (inf: not within {_BY_HAND_FOR:.0f} s)"
        figures.append(Figure(what, value, "s", ""))
    return figures

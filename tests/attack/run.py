"""Runs one case against a group of its own, and holds it to its bounds."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from attack import prober
from attack.cases import Case
from attack.target import HEAD, Target, running

TOKEN: Final = "the token of the group that is attacked"
MEMORY: Final = 100.0
"""MiB that a supervisor may hold."""
STATUS: Final = 64 * 1024
"""Bytes of `/status`."""


@dataclass
class Outcome:
    """What a case came to.

    Attributes:
        name: of the case.
        seconds: that it took.
        slowest: seconds of the slowest answer to `/live` and `/ready` meanwhile.
        control: seconds of the slowest answer of a server that is not attacked: what the machine took.
        memory: MiB, the most that the head held.
        failures: bounds that did not hold, in words.
    """

    name: str
    seconds: float = 0.0
    slowest: float = 0.0
    control: float = 0.0
    memory: float = 0.0
    failures: list[str] = field(default_factory=list)


def run(name: str, case: Case, folder: Path, *, count: int, slowest: float) -> Outcome:
    """Attack a group of its own.

    Args:
        name: of the case.
        case: the attack.
        folder: for the group's files; must not exist.
        count: how often.
        slowest: seconds within which `/live` and `/ready` have to answer, besides what the control took.
    """
    outcome = Outcome(name)
    nodes = 2 if case.serving else 3
    token = TOKEN if case.token else None
    with running(folder, token=token, nodes=nodes, with_worker=case.serving) as target:
        before = target.status()
        watch = _Watch(target)
        began = time.monotonic()
        try:
            asyncio.run(case.attack(target, count))
        except (AssertionError, pytest.fail.Exception) as error:
            outcome.failures.append(str(error))
        outcome.seconds = time.monotonic() - began
        seen = watch.end()
        outcome.slowest, outcome.control, outcome.memory = seen["slowest"], seen["control"], watch.memory
        _judge(outcome, case, target, before, seen, slowest)
        if outcome.failures:
            outcome.failures.append(target.logs())
    return outcome


class _Watch:
    """Probes the head and looks at its memory, apart from the attack, until it is ended."""

    def __init__(self, target: Target) -> None:
        self.memory = 0.0
        self._target = target
        self._over = threading.Event()
        program = [sys.executable, "-SI", prober.__file__, HEAD, str(target.port)]
        self._prober = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.memory = max(self.memory, self._target.resident_mib())

    def end(self) -> dict[str, Any]:
        """What the prober has seen."""
        self._over.set()
        self._thread.join()
        said, _ = self._prober.communicate(timeout=30)
        return dict(json.loads(said))


def _judge(
    outcome: Outcome, case: Case, target: Target, before: dict[str, Any], seen: dict[str, Any], slowest: float
) -> None:
    def hold(what: str, *, true: bool) -> None:
        if not true:
            outcome.failures.append(what)

    status = target.wait(bool)
    took = f"/live or /ready took {seen['slowest']:.2f} s, the control {seen['control']:.2f} s"
    hold(took, true=seen["slowest"] <= slowest + seen["control"])
    hold(f"the head held {outcome.memory:.0f} MiB", true=outcome.memory <= MEMORY)
    hold(f"/status is {len(json.dumps(status))} bytes long", true=len(json.dumps(status)) <= STATUS)
    hold(f"recoveries: {status['recoveries']}", true=status["recoveries"] == before["recoveries"])
    hold("a supervisor has ended", true=all(one.poll() is None for one in target.processes.values()))
    hold("a control character is in /status", true=json.dumps(status, ensure_ascii=False).isprintable())
    if case.serving:
        hold(f"/ready failed {seen['not_ready']} times", true=seen["not_ready"] == 0)
        hold(f"the epoch is {status['epoch']}", true=status["epoch"] == before["epoch"])
        names = [member["name"] for member in status["members"]]
        hold(f"the members are {names}", true=names == ["head", "worker"])

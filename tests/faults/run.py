"""One group for all faults of an executor: each is noticed, healed and held to its bounds before the next."""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from engine.services import LocalGroup, eventually, open_group, service
from faults.acts import Unavailable, nothing
from faults.cases import GRACE, USUAL, Case, Group, wait_out
from faults.clients import Clients, clients
from vllm_multinode.authoring.render import names
from vllm_multinode.contract import env
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.launcher.kept import kept_file
from vllm_multinode.local.run import isvc

LOADS: Final = {"idle": (0, 300), "light": (2, 300), "saturating": (16, 300), "long": (4, 1500)}
"""Clients at a time, and tokens of each answer; the engine takes eight requests at once."""
_START: Final = 300.0
_QUIET: Final = 4.0
"""Seconds after a fault that must not be noticed, in which it is not."""
_AGAIN: Final = 1.1
"""Times the first start within which a group serves again."""
_POLL: Final = 0.02
_KEPT: Final = tuple(kept_file({}, name).stem.rpartition("-")[0] for name in ("incidents", "baseline"))
"""How the files begin that outlive epochs on purpose; they end with the pod's user."""
_TRACES: Final = ("vllm", "VLLM::", "ray::", "raylet", "gcs_server")


@dataclass
class Row:
    """What came of one fault; seconds where nothing else is said."""

    executor: ExecutorName
    load: str
    name: str
    case: Case
    noticed: float | None = None
    serving: float | None = None
    ratio: float | None = None
    """Of the time that a recovery took to that of the group's first start."""
    reason: str = ""
    skipped: str = ""
    clients: Clients | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def bound(self) -> float | None:
        """Seconds within which it must be noticed; None for never, infinity where that does not matter."""
        return float("inf") if self.case.noticed is None and self.case.new_head else self.case.noticed

    @property
    def requests(self) -> str:
        """What became of them, by how many."""
        outcomes = self.clients.outcomes if self.clients else {}
        return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) or "-"


class Broken:
    """A serving group that faults are tried on, and what it looked like when nothing was wrong.

    Args:
        group: just started.
        executor: of it.
    """

    def __init__(self, group: LocalGroup, executor: ExecutorName) -> None:
        self.group = group
        self._executor = executor
        began = time.monotonic()
        group.wait_until_serving(1, _START)
        self.start = time.monotonic() - began
        # What the engine makes with its first request belongs to an epoch as well.
        group.ask(tokens=1)
        self._before = self._traces()
        self._failed = False

    def run(self, name: str, case: Case, load: str, *, patient: bool = False) -> Row:
        """Break it, and wait until it serves again.

        Args:
            name: of the case.
            case: the fault.
            load: of `LOADS`.
            patient: that it is noticed counts, and not after how long.
        """
        row = Row(self._executor, load, name, case)
        group = self.group
        if self._failed:
            self._begin_again()
        try:
            tidy = case.prepare(group) if case.prepare else nothing
        except Unavailable as why:
            row.skipped = str(why)
            return row
        except AssertionError as error:
            row.failures.append(f"not prepared: {error}")
            self._failed = True
            return row
        epoch = group.status()["epoch"]
        pods = {"head": group.node("head").pod, "worker": group.node("worker-1").pod}
        with clients(group.apis["head"], *LOADS[load]) as row.clients:
            began = time.time()
            try:
                with self._observed(began, case.observer) as seen:
                    undo = case.act(group)
                    if case.lasts is None:
                        self._wait(lambda: "not ready" in seen or case.noticed is None, 30)
                    wait_out(case, began)
                    undo()
                    over = time.time() - began
                    if case.noticed is None and not case.new_head:
                        time.sleep(_QUIET)
                        self._hold(row, "the epoch has ended", true=group.status().get("epoch") == epoch)
                    else:
                        self._serves_again(0 if case.new_head else epoch)
                    row.serving = time.time() - began
                row.noticed = seen.get("not ready")
                self._judge(row, pods, began, float("inf") if patient else case.noticed)
                if case.noticed is not None and not case.graceful and not patient:
                    self._judge_recovery(row, case, over)
            except Unavailable as why:
                row.skipped = str(why)
            except (AssertionError, pytest.fail.Exception) as error:
                row.failures.append(str(error))
            finally:
                tidy()
        self._judge_clients(row)
        if not row.failures and not row.skipped:
            self._judge_traces(row)
        self._failed = bool(row.failures)
        return row

    def _begin_again(self) -> None:
        """After a row that failed: what it has left is not the next one's."""
        self._serves_again(0)
        self._before = self._traces()

    def _serves_again(self, epoch: int) -> None:
        """Wait until an epoch after that one serves, on every node."""

        def later() -> int:
            status = self.group.status()
            serves = status.get("state") == "serving" and self.group.ready() == 200
            return int(status["epoch"]) if serves and status["epoch"] > epoch else 0

        self.group.wait_until_serving(eventually(later, _START, self.group.shown), _START)

    @contextlib.contextmanager
    def _observed(self, began: float, node: str) -> Iterator[dict[str, float]]:
        """Notes when a node's `/ready` answers 503 for the first time, seconds since `began`."""
        seen: dict[str, float] = {}
        over = threading.Event()

        def look() -> None:
            while not over.wait(_POLL):
                if self.group.ready(node) == 503:
                    seen.setdefault("not ready", time.time() - began)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()

    @staticmethod
    def _wait(true: "object", seconds: float) -> None:
        deadline = time.monotonic() + seconds
        assert callable(true)
        while not true() and time.monotonic() < deadline:
            time.sleep(_POLL)

    @staticmethod
    def _hold(row: Row, what: str, *, true: bool) -> None:
        if not true:
            row.failures.append(what)

    def _judge(self, row: Row, pods: dict[str, str], began: float, bound: float | None) -> None:
        case = row.case
        if case.noticed is None or bound is None:
            return
        self._hold(
            row,
            f"noticed after {row.noticed and round(row.noticed, 1)} s, the bound is {bound:g} s",
            true=row.noticed is not None and row.noticed <= bound,
        )
        row.reason = self.group.noticed(began, case.observer)
        words = case.words.format(**pods)
        self._hold(row, f"the reason is not '{words}'", true=words in row.reason)

    def _judge_recovery(self, row: Row, case: Case, over: float) -> None:
        """From when it could begin: the fault was noticed, and is over after so many seconds."""
        if row.noticed is None or row.serving is None:
            return
        took = (row.serving - max(row.noticed, over)) / case.recoveries
        row.ratio = took / self.start
        self._hold(
            row,
            f"serving again after {took:.1f} s, {row.ratio:.2f} of a start; the bound is {_AGAIN}",
            true=row.ratio <= _AGAIN,
        )

    def _judge_clients(self, row: Row) -> None:
        if row.clients is None:
            return
        outcomes = row.clients.outcomes
        self._hold(row, f"{outcomes['hung']} requests hung", true=not outcomes["hung"])
        if row.case.graceful:
            told = outcomes["told"]
            self._hold(row, f"{told} requests were not answered to their end", true=not told)
        silent = outcomes["broken off"]
        allowed = not row.case.told
        self._hold(row, f"{silent} streams broke off without a word", true=allowed or not silent)

    def _judge_traces(self, row: Row) -> None:
        for place, now in self._traces().items():
            before = self._before[place]
            more = f"{place}: {len(before)} before, {len(now)} now; new: {', '.join(sorted(now - before))}"
            self._hold(row, more, true=len(now) <= len(before))

    def _traces(self) -> dict[str, set[str]]:
        """What an epoch has on each node, by name."""
        found: dict[str, set[str]] = {}
        for node in [one.node for one in self.group.nodes]:
            pids = {pid for word in _TRACES for pid in self.group.processes(node, word)}
            found[f"processes on {node}"] = {str(pid) for pid in pids}
            found[f"files in /dev/shm on {node}"] = self.group.shared_memory(node)
            found[f"files in /tmp on {node}"] = {
                name for name in self.group.temporary(node) if not name.startswith(_KEPT)
            }
        return found


@contextlib.contextmanager
def broken(
    executor: ExecutorName, model: Path, folder: Path, like: Group = USUAL, logs: Path | None = None
) -> Iterator[Broken]:
    """A group with the real engine, that serves; what its pods have written is kept in `logs`."""
    folder.mkdir()
    drain = {env.DRAIN_TIMEOUT: f"{GRACE - names.TEARDOWN_SECONDS:g}"}
    variables = {env.BACKOFF: "0", "VLLM_LOGGING_LEVEL": "INFO", **drain, **dict(like.variables)}
    arguments = ("--dtype", "float32")
    local = service(model, executor=executor, nodes=like.nodes, env=variables, args=arguments)
    pods = [pod.model_copy(update={"grace": GRACE}) for pod in isvc.pods(local, isvc.cache_directory())]
    group = open_group(folder / "runs", pods)
    with group.run:
        try:
            yield Broken(group, executor)
        except BaseException:
            for pod, text in group.logs().items():
                print(f"--- {pod}\n{text}")
            raise
        finally:
            if logs is not None:
                shutil.copytree(group.run.directory.logs, logs, dirs_exist_ok=True)

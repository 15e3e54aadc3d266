"""What it costs to be watched: throughput with `status`, `top` and a scrape each second, and without.

The watchers run in idle time of the CPUs, as if on another machine: what counts is what nodes and engine do
for them. Windows with and without take turns within one run, as ABBA.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from bench.load import saturating
from bench.nodes import Nodes, nodes
from bench.report import Figure
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.local.rundir import RunInfo
from vllm_multinode.operate import numbers
from vllm_multinode.operate.numbers import Numbers

_SECOND = 1.0
_SETTLE = 1.0
"""Seconds after a change that belong to no window."""


def measure(model: Path, executor: ExecutorName, rounds: int, seconds: float = 8.0) -> list[Figure]:
    """The ratio of throughputs.

    Args:
        model: that is served.
        executor: of the group.
        rounds: of four windows each.
        seconds: of a window.
    """
    with nodes("launcher", executor, model) as group:
        group.first_completion()
        _describe(group)
        with saturating(group.api, model), _watchers(group) as watchers:
            with_them: list[float] = []
            without: list[float] = []
            for watched in (False, True, True, False) * rounds:
                watchers.go_on() if watched else watchers.pause()
                time.sleep(_SETTLE)
                (with_them if watched else without).append(_throughput(group, seconds))
            looks = watchers.scraped
    pairs = [one / other for one, other in zip(with_them, without, strict=True)]
    what = f"{executor}: throughput while watched each second, of that without"
    return [
        Figure(what, sum(with_them) / sum(without), "x", "at least 0.99"),
        Figure(f"{executor}: the same, median of {len(pairs)} pairs of windows", median(pairs), "x", ""),
        Figure(f"{executor}: tokens per second without", sum(without) / len(without), "", ""),
        Figure(f"{executor}: scrapes meanwhile", looks, "", ""),
    ]


class _Watchers:
    """The commands as processes, and a scraper of both /metrics."""

    def __init__(self, processes: list["subprocess.Popen[bytes]"], urls: tuple[str, ...]) -> None:
        self._processes = processes
        self._urls = urls
        self._on, self._ended = threading.Event(), threading.Event()
        self.scraped = 0
        self._thread = threading.Thread(target=self._scrape, daemon=True)
        self._thread.start()

    def go_on(self) -> None:
        """Watch."""
        self._on.set()
        for process in self._processes:
            process.send_signal(signal.SIGCONT)

    def pause(self) -> None:
        """Stay where they are."""
        self._on.clear()
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        """End all of them."""
        self._ended.set()
        for process in self._processes:
            process.kill()
            process.wait(30)
        self._thread.join(30)

    def _scrape(self) -> None:
        while not self._ended.wait(_SECOND):
            if self._on.is_set():
                for url in self._urls:
                    with contextlib.suppress(OSError), urlopen(url, timeout=10) as answer:
                        answer.read()
                        self.scraped += 1


@contextlib.contextmanager
def _watchers(group: Nodes) -> Iterator[_Watchers]:
    program = str(Path(sys.executable).with_name("multinode"))
    name = group.run.directory.name
    commands = (["status", name, "--local", "--watch"], ["top", name, "--local"])
    processes = [
        subprocess.Popen(
            [program, *command, "--interval", str(_SECOND)],
            stdout=subprocess.DEVNULL,
            preexec_fn=_in_idle_time,
        )
        for command in commands
    ]
    found = _Watchers(processes, (f"{group.supervisor}/metrics", f"{group.api}/metrics"))
    try:
        found.go_on()
        # Python starts, and the first looks are taken.
        time.sleep(10 * _SETTLE)
        if ended := [process.args for process in processes if process.poll() is not None]:
            raise ChildProcessError(f"{ended} have ended")
        yield found
    finally:
        found.end()


def _in_idle_time() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _describe(group: Nodes) -> None:
    """Tell the commands where the run's API is, as `multinode local run` does."""
    directory = group.run.directory
    directory.write_info(
        RunInfo(
            run=directory.name, service="llm", runner=os.getpid(), url=group.api,
            supervisor_url=group.supervisor, logs=str(directory.logs), started=time.time(),
        )
    )  # fmt: skip


def _throughput(group: Nodes, seconds: float) -> float:
    """Tokens that the engine gives out by the second."""
    begun, before = time.monotonic(), _tokens(group)
    time.sleep(seconds)
    after, ended = _tokens(group), time.monotonic()
    return (after - before) / (ended - begun)


def _tokens(group: Nodes) -> float:
    with urlopen(f"{group.api}/metrics", timeout=60) as answer:
        return Numbers.read(answer.read().decode()).total(numbers.GENERATION_TOKENS) or 0.0

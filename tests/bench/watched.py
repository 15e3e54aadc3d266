"""What it costs to be watched: throughput with `status`, `top` and a scrape each second, and without.

The nodes have the first half of the CPUs, the load and the watchers the other, as if on another machine: what
counts is what nodes and engine do for them. Windows with and without take turns within one run, as ABBA.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
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
_BLOCK = (False, True, True, False)
"""Windows of a block: what drifts evenly falls out."""
_RESAMPLES = 10_000
_DRAWN = {"status": b"local run ", "top": b"engine "}
"""How each screen begins."""


def measure(model: Path, executor: ExecutorName, rounds: int, seconds: float = 8.0) -> list[Figure]:
    """The ratio of throughputs.

    Args:
        model: that is served.
        executor: of the group.
        rounds: of four windows each.
        seconds: of a window.
    """
    blocks: list[tuple[float, float]] = []
    everywhere = sorted(os.sched_getaffinity(0))
    half = len(everywhere) // 2
    if not half:
        raise OSError("this needs two CPUs: nodes and watchers would share one")
    # What is started takes this thread's CPUs over.
    os.sched_setaffinity(0, everywhere[:half])
    with (
        contextlib.ExitStack() as ends,
        nodes("launcher", executor, model) as group,
        tempfile.TemporaryDirectory() as folder,
    ):
        ends.callback(os.sched_setaffinity, 0, everywhere)
        group.first_completion()
        os.sched_setaffinity(0, everywhere[half:])
        _describe(group)
        with saturating(group.api, model), _watchers(group, Path(folder)) as watchers:
            before = watchers.looks()
            for _ in range(rounds):
                first, watched, again, last = (
                    _window(group, watchers, seconds, watched=watched) for watched in _BLOCK
                )
                blocks.append((mean((watched, again)), mean((first, last))))
            after = watchers.looks()
    watched_seconds = 2 * rounds * (seconds + _SETTLE)
    low, high = interval(blocks)
    return [
        Figure(f"{executor}: throughput while watched, of that without", ratio(blocks), "x", "at least 0.99"),
        Figure(f"{executor}: the same, 95 % interval of {rounds} blocks, from", low, "x", ""),
        Figure(f"{executor}: the same, 95 % interval, to", high, "x", ""),
        Figure(f"{executor}: tokens per second without", mean(one for _, one in blocks), "", ""),
        *(
            Figure(
                f"{executor}: {name} by the second", (after[name] - before[name]) / watched_seconds, "", ""
            )
            for name in after
        ),
    ]


def ratio(blocks: Sequence[tuple[float, float]]) -> float:
    """Of the throughputs while watched to those without."""
    return sum(watched for watched, _ in blocks) / sum(without for _, without in blocks)


def interval(blocks: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The 95 % interval of `ratio`, by the percentile bootstrap over blocks (Efron 1979)."""
    chance = random.Random(0)
    drawn = sorted(ratio(chance.choices(blocks, k=len(blocks))) for _ in range(_RESAMPLES))
    return drawn[round(0.025 * _RESAMPLES)], drawn[round(0.975 * _RESAMPLES) - 1]


def _window(group: Nodes, watchers: "_Watchers", seconds: float, *, watched: bool) -> float:
    watchers.go_on() if watched else watchers.pause()
    time.sleep(_SETTLE)
    return _throughput(group, seconds)


class _Watchers:
    """The commands as processes, and a scraper of both /metrics."""

    def __init__(
        self, processes: list["subprocess.Popen[bytes]"], urls: tuple[str, ...], folder: Path
    ) -> None:
        self._processes = processes
        self._urls = urls
        self._folder = folder
        self._on, self._ended = threading.Event(), threading.Event()
        self._scraped = 0
        self._thread = threading.Thread(target=self._scrape, daemon=True)
        self._thread.start()

    def looks(self) -> dict[str, int]:
        """How often each has looked."""
        drawn = {
            name: sum(line.startswith(begin) for line in (self._folder / name).read_bytes().splitlines())
            for name, begin in _DRAWN.items()
        }
        return {**drawn, "scrapes of each /metrics": self._scraped // len(self._urls)}

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
                        self._scraped += 1


@contextlib.contextmanager
def _watchers(group: Nodes, folder: Path) -> Iterator[_Watchers]:
    program = str(Path(sys.executable).with_name("multinode"))
    name = group.run.directory.name
    processes = []
    for command in (["status", name, "--local", "--watch"], ["top", name, "--local"]):
        with (folder / command[0]).open("wb") as drawn:
            processes.append(subprocess.Popen([program, *command, "--interval", str(_SECOND)], stdout=drawn))
    found = _Watchers(processes, (f"{group.supervisor}/metrics", f"{group.api}/metrics"), folder)
    try:
        found.go_on()
        # Python starts, and the first looks are taken.
        time.sleep(10 * _SETTLE)
        if ended := [process.args for process in processes if process.poll() is not None]:
            raise ChildProcessError(f"{ended} have ended")
        yield found
    finally:
        found.end()


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

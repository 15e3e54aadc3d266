"""What it costs to be watched: throughput with `status`, `top` and a scrape each second, and without.

The nodes have the first half of the CPUs. Load, watchers and the local runner have the other, as if on
another machine: what counts is what supervisors and engine do for them. Windows with and without take turns
within one run, as ABBA.
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from urllib.request import urlopen

from bench.load import saturating
from bench.nodes import Nodes, nodes
from bench.report import Figure
from bench.supervisor import below, supervisor_of
from vllm_multinode.cluster.supervisor import metrics_path
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.local.rundir import RunInfo
from vllm_multinode.operate import numbers
from vllm_multinode.operate.numbers import Numbers

_INTERVAL = 0.9
"""Seconds between two looks, which take some time themselves: one look a second at least."""
_SETTLE = 0.5
"""Seconds after a change that belong to no window."""
_BLOCK = (False, True, True, False)
"""Windows of a block: what drifts evenly falls out."""
_FIRST_LOOKS = 10.0
_HIGHEST = -20
_IDLE = 2.0
_QUESTIONS = 200
ONE_AT_A_TIME = ("--max-num-seqs", "1")
"""Requests wait all the time, and every step has one token. How a pipeline divides a larger batch
changes throughput, for as long as the requests last, by more than what is measured here."""
_RESAMPLES = 10_000
_DRAWN = {"status": b"local run ", "top": b"engine "}
"""How each screen begins."""


@dataclass(frozen=True)
class Window:
    """What was measured in one window.

    Attributes:
        throughput: tokens that the engine gave out by the second.
        cost: seconds of processor time that supervisors and engine used for a token, on both nodes.
    """

    throughput: float
    cost: float


def measure(model: Path, executor: ExecutorName, rounds: int, seconds: float = 2.5) -> Iterator[Figure]:
    """What the looks of a second cost; the ratio of throughputs, and that of the cost of a token.

    Args:
        model: that is served.
        executor: of the group.
        rounds: of four windows each.
        seconds: of a window.
    """
    everywhere = sorted(os.sched_getaffinity(0))
    half = len(everywhere) // 2
    if not half:
        raise OSError("this needs two CPUs: nodes and watchers would share one")
    with (
        contextlib.ExitStack() as ends,
        nodes("launcher", executor, model, ONE_AT_A_TIME) as group,
        tempfile.TemporaryDirectory() as folder,
    ):
        group.first_completion()
        serving = _serving_processes(group)
        _keep_on(serving, everywhere[:half])
        _prefer(serving)
        # The runner stands for network and kubelet. What is started from here takes its CPUs over.
        _keep_on(below(group.run.process.pid) - serving, everywhere[half:])
        os.sched_setaffinity(0, everywhere[half:])
        ends.callback(os.sched_setaffinity, 0, everywhere)
        _describe(group)
        yield from _costs(executor, group, serving)
        # A prefill costs more than a step, and would fall into one window and not into the next.
        load = saturating(group.api, model, "--random-input-len", "8", "--random-output-len", "128")
        with load, _watchers(group, Path(folder)) as watchers:
            before = watchers.looks()
            blocks = [_block(group, watchers, serving, seconds) for _ in range(rounds)]
            after = watchers.looks()
    watched_seconds = 2 * rounds * (seconds + _SETTLE)
    looks = {name: (after[name] - before[name]) / watched_seconds for name in after}
    yield from _figures(executor, blocks, looks)


def _figures(
    executor: ExecutorName, blocks: Sequence[tuple[Window, ...]], looks: Mapping[str, float]
) -> list[Figure]:
    throughput = pairs(blocks, lambda window: window.throughput)
    cost = pairs(blocks, lambda window: window.cost)
    figures = []
    for what, found, wanted in (
        ("throughput while watched, of that without", throughput, "at least 0.99"),
        ("CPU of a token while watched, of that without", cost, "at most 1.01"),
    ):
        low, high = interval(found)
        figures += [
            Figure(f"{executor}: {what}", ratio(found), "x", wanted),
            Figure(f"{executor}: the same, 95 % interval of {len(blocks)} blocks, from", low, "x", ""),
            Figure(f"{executor}: the same, 95 % interval, to", high, "x", ""),
        ]
    figures += [
        Figure(f"{executor}: tokens per second without", mean(one for _, one in throughput), "", ""),
        Figure(f"{executor}: CPU of a token without", mean(one for _, one in cost) * 1e3, "ms", ""),
    ]
    return figures + [
        Figure(f"{executor}: {name} by the second", count, "", "at least 1") for name, count in looks.items()
    ]


def pairs(
    blocks: Sequence[tuple[Window, ...]], figure: Callable[[Window], float]
) -> list[tuple[float, float]]:
    """Of each block, the mean of a figure while watched, and without."""
    return [
        (
            mean(figure(one) for one, watched in zip(block, _BLOCK, strict=True) if watched),
            mean(figure(one) for one, watched in zip(block, _BLOCK, strict=True) if not watched),
        )
        for block in blocks
    ]


def ratio(blocks: Sequence[tuple[float, float]]) -> float:
    """Of the throughputs while watched to those without."""
    return sum(watched for watched, _ in blocks) / sum(without for _, without in blocks)


def interval(blocks: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The 95 % interval of `ratio`, by the percentile bootstrap over blocks (Efron 1979)."""
    chance = random.Random(0)
    drawn = sorted(ratio(chance.choices(blocks, k=len(blocks))) for _ in range(_RESAMPLES))
    return drawn[round(0.025 * _RESAMPLES)], drawn[round(0.975 * _RESAMPLES) - 1]


def _costs(executor: ExecutorName, group: Nodes, serving: Iterable[int]) -> Iterator[Figure]:
    """Processor time of supervisors and engine for each question, while they have nothing else to do."""
    whole, own = f"{group.api}/metrics", f"{group.supervisor}/metrics"
    status, top = (f"{group.api}/{metrics_path(names)}" for names in (numbers.OF_STATUS, numbers.OF_RATES))
    supervisor = f"{group.supervisor}/status"
    asked = {
        "vLLM's /metrics, whole": _cost(whole, serving),
        "what status asks of vLLM": _cost(status, serving),
        "what top asks of vLLM": _cost(top, serving),
        "the supervisor's /status": _cost(supervisor, serving),
        "the supervisor's /metrics": _cost(own, serving),
    }
    for what, milliseconds in asked.items():
        yield Figure(f"{executor}: CPU of {what}", milliseconds, "ms", "")
    # Both screens ask the supervisor.
    second = sum(asked.values()) + asked["the supervisor's /status"]
    yield Figure(f"{executor}: CPU of all of it each second, of a core", second / 10, "%", "below 1")


def _cost(url: str, serving: Iterable[int]) -> float:
    """Milliseconds of processor time, beside what is used anyhow."""
    begun, used = time.monotonic(), _used(serving)
    time.sleep(_IDLE)
    anyhow = (_used(serving) - used) / (time.monotonic() - begun)
    begun, used = time.monotonic(), _used(serving)
    for _ in range(_QUESTIONS):
        with urlopen(url, timeout=60) as answer:
            answer.read()
    return (_used(serving) - used - anyhow * (time.monotonic() - begun)) / _QUESTIONS * 1e3


def _block(group: Nodes, watchers: "_Watchers", serving: Iterable[int], seconds: float) -> tuple[Window, ...]:
    return tuple(_window(group, watchers, serving, seconds, watched=watched) for watched in _BLOCK)


def _window(
    group: Nodes, watchers: "_Watchers", serving: Iterable[int], seconds: float, *, watched: bool
) -> Window:
    watchers.go_on() if watched else watchers.pause()
    time.sleep(_SETTLE)
    begun, tokens, used = time.monotonic(), _tokens(group), _used(serving)
    time.sleep(seconds)
    more, took = _tokens(group) - tokens, time.monotonic() - begun
    return Window(throughput=more / took, cost=(_used(serving) - used) / max(more, 1))


def _serving_processes(group: Nodes) -> set[int]:
    """Both nodes' supervisors and all that they have started."""
    return {pid for role in ("head", "worker") for pid in below(supervisor_of(group, role))}


def _keep_on(processes: Iterable[int], cpus: Sequence[int]) -> None:
    for thread in _threads(processes):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cpus)


def _prefer(processes: Iterable[int]) -> None:
    """Whatever else runs here waits, where this user may say so."""
    for thread in _threads(processes):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _HIGHEST)


def _used(processes: Iterable[int]) -> float:
    """Seconds of processor time, to the nanosecond."""
    used = 0
    for thread in _threads(processes):
        with contextlib.suppress(OSError):
            used += int((thread / "schedstat").read_text().split()[0])
    return used / 1e9


def _threads(processes: Iterable[int]) -> Iterator[Path]:
    for pid in processes:
        with contextlib.suppress(OSError):
            yield from Path(f"/proc/{pid}/task").iterdir()


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
        while not self._ended.wait(_INTERVAL):
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
            processes.append(
                subprocess.Popen([program, *command, "--interval", str(_INTERVAL)], stdout=drawn)
            )
    found = _Watchers(processes, (f"{group.supervisor}/metrics", f"{group.api}/metrics"), folder)
    try:
        found.go_on()
        # Python starts, and the first looks are taken.
        time.sleep(_FIRST_LOOKS)
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


def _tokens(group: Nodes) -> float:
    with urlopen(f"{group.api}/{metrics_path([numbers.GENERATION_TOKENS])}", timeout=60) as answer:
        return Numbers.read(answer.read().decode()).total(numbers.GENERATION_TOKENS) or 0.0

"""The ladder: one run of vLLM's benchmark for each concurrency, bounded, with counters taken meanwhile."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate.bench.result import BenchResult, Load, Rung, rung_of
from vllm_multinode.operate.bench.samples import Sample, window_of
from vllm_multinode.operate.bench.target import Target
from vllm_multinode.operate.bench.tool import OutOfTimeError, Tool
from vllm_multinode.operate.bench.verdicts import verdicts_of

_LEAST: Final = 4
"""Requests of each client, so that a rung is not all start and end."""
_MOST_SAMPLES: Final = 600
_LOOK_END: Final = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Bounds:
    """How much load there may be.

    Args:
        seconds: for all rungs together, without loading vLLM.
        requests: of all rungs together.
        rung_seconds: what a rung is made to take, as far as the one before tells.
    """

    seconds: float
    requests: int
    rung_seconds: float


@dataclass
class Ladder:
    """Climbs.

    Args:
        target: what is measured.
        tool: loads it.
        model: that requests ask for.
        tokenizer: of the prompts.
        load: what a request is.
        folder: for the raw results.
        bounds: of it all.
        say: is told how far it is.
    """

    target: Target
    tool: Tool
    model: str
    tokenizer: str
    load: Load
    folder: Path
    bounds: Bounds
    say: Say = lambda _: None
    rungs: list[Rung] = field(default_factory=list)
    samples: dict[str, tuple[Sample, ...]] = field(default_factory=dict)
    ended: str = ""
    _asked: int = 0
    _began: float = field(default_factory=time.monotonic)

    def climb(self, concurrencies: Sequence[int]) -> BenchResult:
        """Every rung that the bounds allow; Ctrl-C ends it, and what was measured is kept.

        Raises:
            MultinodeError: not even the first rung came to an end, and why.
        """
        self._began = time.monotonic()
        try:
            for concurrency in concurrencies:
                if not self._rung(concurrency):
                    break
        except KeyboardInterrupt:
            self.ended = "interrupted"
        except OutOfTimeError:
            self.ended = f"{self.bounds.seconds:g} s were over"
        except MultinodeError as error:
            if not self.rungs:
                raise
            self.ended = str(error)
        if not self.rungs:
            code = ExitCode.INTERRUPTED if self.ended == "interrupted" else ExitCode.NOT_SERVING
            raise MultinodeError(
                code,
                f"nothing was measured: {self.ended}.",
                where=self.target.title,
                hint="Increase --seconds, or use fewer tokens (--input-tokens, --output-tokens).",
            )
        return self.result()

    def result(self) -> BenchResult:
        """What there is so far."""
        windows = [rung.window for rung in self.rungs if rung.window is not None]
        return BenchResult(
            made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            target=self.target.title,
            url=self.target.url,
            model=self.model,
            load=self.load,
            rungs=tuple(self.rungs),
            verdicts=tuple(verdicts_of(windows)),
            ended=self.ended,
            samples=self.samples,
        )

    def _rung(self, concurrency: int) -> bool:
        """Whether there may be another one."""
        requests = self._requests(concurrency)
        if requests < concurrency:
            self.ended = f"{self.bounds.requests} requests were sent"
            return False
        self.say(f"concurrency {concurrency}: {requests} requests")
        file = self.folder / f"concurrency-{concurrency:04}.json"
        with looking(self.target.look, self.target.interval) as samples:
            error = self.tool.run(
                self._arguments(concurrency, requests, file), self._began + self.bounds.seconds
            )
        self._asked += requests
        if error or not file.is_file():
            raise MultinodeError(
                ExitCode.NOT_SERVING,
                f"`vllm bench serve` failed at concurrency {concurrency}: {error or 'it wrote nothing'}.",
                where=self.target.url,
                hint=f"{self.folder / 'bench.log'} says more.",
            )
        raw = json.loads(file.read_text())
        self.samples[str(concurrency)] = tuple(samples[-_MOST_SAMPLES:])
        self.rungs.append(rung_of(raw, concurrency, file.name, window_of(concurrency, samples)))
        if not self.rungs[-1].requests:
            last = self.rungs.pop()
            raise MultinodeError(
                ExitCode.NOT_SERVING,
                f"all {last.errors} requests failed at concurrency {concurrency}: {last.error or 'no word'}.",
                where=self.target.url,
            )
        return time.monotonic() - self._began < self.bounds.seconds

    def _requests(self, concurrency: int) -> int:
        """As many as the time of a rung takes at the last one's pace, and never fewer than a few each."""
        least = _LEAST * concurrency
        left = self.bounds.requests - self._asked
        if not self.rungs:
            return min(least, left)
        wanted = round(self.rungs[-1].requests_per_s * self.bounds.rung_seconds)
        return min(max(least, wanted), left)

    def _arguments(self, concurrency: int, requests: int, file: Path) -> list[str]:
        load = self.load
        return [
            *("--backend", "openai", "--endpoint", "/v1/completions", "--base-url", self.target.url),
            *("--model", self.model, "--tokenizer", self.tokenizer, "--dataset-name", "random"),
            *("--random-input-len", str(load.input_tokens), "--random-output-len", str(load.output_tokens)),
            *("--ignore-eos", "--seed", str(load.seed + concurrency), "--num-prompts", str(requests)),
            *("--max-concurrency", str(concurrency), "--disable-tqdm", "--save-result", "--save-detailed"),
            *("--percentile-metrics", "ttft,itl,e2el", "--metric-percentiles", "50,95,99"),
            *("--result-dir", str(file.parent), "--result-filename", file.name),
        ]


@contextmanager
def looking(look: Callable[[], Sample], interval: float = 0.5) -> Iterator[list[Sample]]:
    """Take the counters now, every so many seconds, and at the end; what cannot be had is left out."""
    samples: list[Sample] = []
    stop = threading.Event()

    def take() -> None:
        try:
            samples.append(look())
        except (MultinodeError, OSError):
            return

    def follow() -> None:
        while not stop.is_set():
            take()
            stop.wait(interval)

    thread = threading.Thread(target=follow, name="counters", daemon=True)
    thread.start()
    try:
        yield samples
        stop.set()
        thread.join(_LOOK_END)
        take()
    finally:
        stop.set()

"""What a benchmark measured, as its file holds it. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import Field

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.operate.bench.samples import Sample, Window
from vllm_multinode.operate.bench.verdict import Verdict
from vllm_multinode.operate.written import read_back

Measure = Literal["ttft_ms", "itl_ms", "e2e_ms"]
MEASURES: Final[dict[Measure, str]] = {
    "ttft_ms": "time to first token",
    "itl_ms": "between two tokens",
    "e2e_ms": "end to end",
}
_BINS: Final = 24


class Latency(Frozen):
    """A distribution, in milliseconds.

    Attributes:
        p50: half of all are shorter.
        p95: 95 of 100 are.
        p99: 99 of 100 are.
        mean: of all.
        count: how many there were.
        bins: counts between `edges`, of equal width on a logarithmic scale.
        edges: one more than bins.
    """

    p50: float
    p95: float
    p99: float
    mean: float
    count: int
    bins: tuple[int, ...] = ()
    edges: tuple[float, ...] = ()


class Rung(Frozen):
    """One run of `vllm bench serve`, at one concurrency.

    Attributes:
        concurrency: requests under way at the same time.
        requests: that were answered.
        errors: requests that failed.
        error: what the first one that failed was told.
        seconds: from the first to the last.
        tokens_per_s: generated.
        requests_per_s: answered.
        raw: file with what vLLM wrote, beside this one.
        window: what was counted meanwhile.
    """

    concurrency: int
    requests: int
    errors: int = 0
    error: str = ""
    seconds: float
    tokens_per_s: float
    requests_per_s: float
    ttft_ms: Latency | None = None
    itl_ms: Latency | None = None
    e2e_ms: Latency | None = None
    raw: str = ""
    window: Window | None = None


class Load(Frozen):
    """What every request was.

    Attributes:
        input_tokens: of a prompt.
        output_tokens: of an answer.
        seed: of the prompts.
    """

    input_tokens: int
    output_tokens: int
    seed: int = 0


class BenchResult(Frozen):
    """All of a benchmark.

    Attributes:
        format: of this file.
        made: when, in UTC.
        target: such as local run llm.
        url: where the requests went.
        model: that they asked for.
        load: what they were.
        rungs: by concurrency.
        verdicts: what limits it, the most certain first.
        ended: why there are fewer rungs than were asked for; empty where there are not.
        samples: the counters, by rung.
    """

    format: Literal[1] = 1
    made: str
    target: str
    url: str
    model: str
    load: Load
    rungs: tuple[Rung, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    ended: str = ""
    samples: dict[str, tuple[Sample, ...]] = Field(default={})


def read_result(data: str, where: str) -> BenchResult:
    """A result from its file.

    Raises:
        MultinodeError: USAGE: it is none.
    """
    return read_back(
        BenchResult, data, "benchmark", where=where, hint="`multinode bench` writes result.json."
    )


def rung_of(raw: Mapping[str, Any], concurrency: int, file: str, window: Window | None) -> Rung:
    """From what `vllm bench serve --save-detailed` wrote.

    Raises:
        MultinodeError: USAGE: this vLLM writes something else.
    """
    try:
        answered = [not error for error in _list(raw, "errors") or [""] * len(_list(raw, "ttfts"))]
        itls = [_row(row) for row in _list(raw, "itls")]
        ttfts = [float(value) for value in _list(raw, "ttfts")]
        rows = [row for row in zip(ttfts, itls, answered, strict=False) if row[2]]
        errors = [str(error) for error in _list(raw, "errors") if error]
        completed, failed = int(raw["completed"]), max(int(raw.get("failed") or 0), len(errors))
        if window is not None:
            window = window.model_copy(update={"answered": completed, "failed": failed})
        return Rung(
            concurrency=concurrency,
            requests=completed,
            errors=failed,
            error=errors[0].strip().rpartition("\n")[2][:300] if errors else "",
            seconds=round(float(raw["duration"]), 3),
            tokens_per_s=round(float(raw["output_throughput"]), 3),
            requests_per_s=round(float(raw["request_throughput"]), 4),
            ttft_ms=latency_of([ttft * 1e3 for ttft, _, _ in rows]),
            itl_ms=latency_of([value * 1e3 for _, row, _ in rows for value in row]),
            e2e_ms=latency_of([(ttft + sum(row)) * 1e3 for ttft, row, _ in rows]),
            raw=file,
            window=window,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MultinodeError(
            ExitCode.USAGE,
            f"is not what `vllm bench serve --save-detailed` of a known version writes: {error!r}.",
            where=file,
        ) from error


def _list(raw: Mapping[str, Any], name: str) -> list[Any]:
    found = raw.get(name)
    return list(found) if isinstance(found, list) else []


def _row(found: Any) -> list[float]:
    return [float(value) for value in found] if isinstance(found, list) else []


def latency_of(values: Sequence[float]) -> Latency | None:
    """The distribution of some milliseconds; None where there are none."""
    ordered = sorted(value for value in values if math.isfinite(value) and value >= 0)
    if not ordered:
        return None
    bins, edges = _histogram(ordered)
    return Latency(
        p50=round(percentile(ordered, 50), 3),
        p95=round(percentile(ordered, 95), 3),
        p99=round(percentile(ordered, 99), 3),
        mean=round(sum(ordered) / len(ordered), 3),
        count=len(ordered),
        bins=bins,
        edges=edges,
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Between the two nearest of sorted values, as numpy does it."""
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _histogram(ordered: Sequence[float]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    least, most = max(ordered[0], 1e-3), max(ordered[-1], 2e-3)
    if most <= least * 1.001:
        most = least * 1.1
    width = (math.log(most) - math.log(least)) / _BINS
    counts = [0] * _BINS
    for value in ordered:
        number = int((math.log(max(value, least)) - math.log(least)) / width)
        counts[min(number, _BINS - 1)] += 1
    edges = tuple(round(math.exp(math.log(least) + width * number), 4) for number in range(_BINS + 1))
    return tuple(counts), edges

"""A benchmark as text: the table, what it means, and what has changed since another one. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.operate.bench.result import MEASURES, BenchResult, Latency, Measure, Rung
from vllm_multinode.operate.screen import WIDTH, folded, table

_SAME: Final = 0.05
"""Changes that are smaller are not told apart from the next run's."""


class Change(Frozen):
    """A number of one concurrency, then and now."""

    concurrency: int
    what: str
    before: float
    now: float

    @property
    def part(self) -> float:
        """By how much it has grown; 0.1 for a tenth."""
        return self.now / self.before - 1 if self.before else 0.0


def as_text(found: BenchResult, width: int = WIDTH) -> str:
    """For a reader."""
    load = found.load
    lines = folded(f"{found.target}: {found.model} at {found.url}", width)
    lines += [f"prompts of {load.input_tokens} tokens, answers of {load.output_tokens}; milliseconds", ""]
    lines += table(titles(), rows(found.rungs), right=range(len(titles())))
    for rung in found.rungs:
        if rung.error:
            lines += folded(f"at {rung.concurrency}: {rung.errors} failed: {rung.error}", width)
    if found.ended:
        lines += folded(f"ended early: {found.ended}", width)
    lines.append("")
    for verdict in found.verdicts:
        lines += folded(f"{verdict.id}: {verdict.sentence}", width)
        lines += [line for evidence in verdict.evidence for line in folded(f"  {evidence}", width)]
        if verdict.advice:
            lines += folded(f"  -> {verdict.advice}", width)
    return "\n".join(lines) + "\n"


def titles() -> tuple[str, ...]:
    """Of the columns of `rows`."""
    return (
        "conc",
        "TTFT p50",
        "p95",
        "p99",
        "ITL p50",
        "p95",
        "p99",
        "E2E p50",
        "p95",
        "p99",
        "tok/s",
        "err",
    )


def rows(rungs: Sequence[Rung]) -> list[tuple[str, ...]]:
    """A line each: milliseconds, and tokens by the second."""
    return [
        (
            str(rung.concurrency),
            *_cells(rung.ttft_ms),
            *_cells(rung.itl_ms),
            *_cells(rung.e2e_ms),
            f"{rung.tokens_per_s:.4g}",
            str(rung.errors),
        )
        for rung in rungs
    ]


def _cells(found: Latency | None) -> tuple[str, str, str]:
    if found is None:
        return "-", "-", "-"
    return tuple(_short(value) for value in (found.p50, found.p95, found.p99))  # type: ignore[return-value]


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def changes(before: BenchResult, now: BenchResult) -> list[Change]:
    """Every number that both have, of the concurrencies that both have."""
    earlier = {rung.concurrency: rung for rung in before.rungs}
    return [
        Change(concurrency=rung.concurrency, what=what, before=old, now=new)
        for rung in now.rungs
        if rung.concurrency in earlier
        for what, old, new in _pairs(earlier[rung.concurrency], rung)
    ]


def _pairs(before: Rung, now: Rung) -> Iterator[tuple[str, float, float]]:
    yield "tok/s", before.tokens_per_s, now.tokens_per_s
    names: dict[Measure, str] = {"ttft_ms": "TTFT", "itl_ms": "ITL", "e2e_ms": "E2E"}
    for measure in MEASURES:
        old, new = getattr(before, measure), getattr(now, measure)
        if old is not None and new is not None:
            for rank in ("p50", "p95", "p99"):
                yield f"{names[measure]} {rank}", getattr(old, rank), getattr(new, rank)


def compared(before: BenchResult, now: BenchResult, where: str, width: int = WIDTH) -> str:
    """What has changed since, for a reader."""
    lines = folded(f"compared with {where}, made {before.made}:", width)
    differing = [
        f"{what} {old!r} then, {new!r} now"
        for what, old, new in (
            ("prompts of", before.load.input_tokens, now.load.input_tokens),
            ("answers of", before.load.output_tokens, now.load.output_tokens),
            ("model", before.model, now.model),
        )
        if old != new
    ]
    lines += [line for sentence in differing for line in folded(f"not the same load: {sentence}", width)]
    found = changes(before, now)
    if not found:
        return "\n".join([*lines, "the two runs have no concurrency in common"]) + "\n"
    changed = [
        (str(one.concurrency), one.what, f"{one.before:.4g}", f"{one.now:.4g}", _percent(one))
        for one in found
        if abs(one.part) >= _SAME
    ]
    if not changed:
        return "\n".join([*lines, f"nothing differs by {_SAME:.0%} or more"]) + "\n"
    lines += table(("conc", "what", "then", "now", "change"), changed, right=(0, 2, 3, 4))
    return "\n".join(lines) + "\n"


def _percent(one: Change) -> str:
    return f"{one.part:+.0%}"

"""What engines do by the second, from two looks at their counters. Pure."""

from collections.abc import Sequence

from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.operate import numbers
from vllm_multinode.operate.numbers import Numbers
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.screen import WIDTH, folded, table
from vllm_multinode.operate.status import status_of


class Rates(Frozen):
    """One engine, over some seconds; None for what it does not count.

    Attributes:
        pod: of its head.
        prompt_tokens: taken in by the second.
        generation_tokens: given out by the second.
        finished: requests by the second.
        preempted: requests by the second.
        running: requests at the end.
        waiting: requests at the end.
        cache_used: part of the KV cache at the end, 0 to 1.
        first_token_s: mean seconds to the first token of those that came meanwhile.
    """

    pod: str
    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    finished: float | None = None
    preempted: float | None = None
    running: float | None = None
    waiting: float | None = None
    cache_used: float | None = None
    first_token_s: float | None = None


def rates_of(before: Observation, after: Observation) -> list[Rates]:
    """Of every engine that answered both times; one that has restarted between counts from zero."""
    seconds = max(1e-3, after.now - before.now)
    return [
        _rates(pod, earlier, found, seconds)
        for pod, found in after.engines.items()
        if found is not None and (earlier := before.engines.get(pod)) is not None
    ]


def _rates(pod: str, before: Numbers, after: Numbers, seconds: float) -> Rates:
    def grown(name: str) -> float | None:
        now, then = after.total(name), before.total(name) or 0.0
        if now is None:
            return None
        return now - then if now >= then else now

    def rate(name: str) -> float | None:
        more = grown(name)
        return None if more is None else more / seconds

    first, count = grown(f"{numbers.FIRST_TOKEN}_sum"), grown(f"{numbers.FIRST_TOKEN}_count")
    return Rates(
        pod=pod,
        prompt_tokens=rate(numbers.PROMPT_TOKENS),
        generation_tokens=rate(numbers.GENERATION_TOKENS),
        finished=rate(numbers.FINISHED),
        preempted=rate(numbers.PREEMPTIONS),
        running=after.total(numbers.RUNNING),
        waiting=after.total(numbers.WAITING),
        cache_used=after.highest(*numbers.CACHE_USED),
        first_token_s=first / count if first is not None and count else None,
    )


def as_text(found: Sequence[tuple[Observation, Sequence[Rates]]], width: int = WIDTH) -> str:
    """For a reader: a line for each engine, and below it its nodes."""
    titles = ("engine", "in tok/s", "out tok/s", "req/s", "run", "wait", "cache", "first token")
    rows: list[tuple[str, ...]] = []
    below: list[str] = []
    for seen, engines in found:
        status = status_of(seen)
        name = seen.snapshot.name
        rows += [
            _row(name if len(engines) < 2 else f"{name}/{number}", one) for number, one in enumerate(engines)
        ]
        if not engines:
            rows.append(_row(name, Rates(pod="")))
        if len(found) > 1 and status.serving:
            continue
        if not engines:
            below += folded(f"{seen.title}: {status.state}, and no counters of its engine", width)
        beats = ", ".join(
            f"{one.rank if one.rank is not None else '-'} {one.state}"
            + (f" {one.silent_s:.1f} s" if one.silent_s else "")
            for one in status.ranks
        )
        below += folded(f"{name}: ranks {beats or 'none'}", width)
    for sentence in dict.fromkeys(sentence for seen, _ in found for sentence in seen.unseen):
        below += folded(f"not seen: {sentence}", width)
    return "\n".join([*table(titles, rows, right=range(1, len(titles))), *below]) + "\n"


def _row(name: str, one: Rates) -> tuple[str, ...]:
    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return (
        name,
        shown(one.prompt_tokens, ".1f"),
        shown(one.generation_tokens, ".1f"),
        shown(one.finished, ".2f"),
        shown(one.running, ".0f"),
        shown(one.waiting, ".0f"),
        shown(one.cache_used, ".0%"),
        "-" if one.first_token_s is None else f"{one.first_token_s:.3f} s",
    )

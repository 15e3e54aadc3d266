"""How long requests take, from the histograms that engines count. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.operate import numbers
from vllm_multinode.operate.numbers import Numbers

FIRST_TOKEN: Final = (numbers.FIRST_TOKEN,)
BETWEEN_TOKENS: Final = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")
WHOLE_REQUEST: Final = ("vllm:e2e_request_latency_seconds",)


class Latency(Frozen):
    """Of the requests of some time, in seconds.

    Attributes:
        count: of what was measured: requests, or tokens for the time between two.
        mean: of all.
        p50: median, interpolated within its bucket as Prometheus' `histogram_quantile` does.
        p95: 95th percentile.
        p99: 99th percentile.
    """

    count: float
    mean: float
    p50: float
    p95: float
    p99: float


def latency(
    before: Sequence[Numbers | None], after: Sequence[Numbers], names: Sequence[str]
) -> Latency | None:
    """What all engines together have measured between two looks; None where nothing was.

    Args:
        before: each engine's numbers at the earlier look; None counts from the engine's start.
        after: the same engines' later.
        names: of the histogram; the first that an engine has is taken.
    """
    buckets: dict[float, float] = {}
    total = 0.0
    for then, now in zip(before, after, strict=True):
        name = next((one for one in names if now.total(f"{one}_count") is not None), None)
        if name is None:
            continue
        old, new = _cumulative(then, name), _cumulative(now, name)
        total_now = now.total(f"{name}_sum") or 0.0
        total_then = (then.total(f"{name}_sum") or 0.0) if then is not None else 0.0
        if any(count < old.get(bound, 0.0) for bound, count in new.items()):
            # It has been started again between the looks.
            old, total_then = {}, 0.0
        total += total_now - total_then
        for bound, count in new.items():
            buckets[bound] = buckets.get(bound, 0.0) + count - old.get(bound, 0.0)
    count = max(buckets.values(), default=0.0)
    if count <= 0:
        return None
    p50, p95, p99 = (quantile(buckets, part) for part in (0.5, 0.95, 0.99))
    return Latency(count=count, mean=total / count, p50=p50, p95=p95, p99=p99)


def quantile(buckets: Mapping[float, float], part: float) -> float:
    """A quantile of cumulative counts by upper bound, as `histogram_quantile` has it.

    Args:
        buckets: by upper bound in seconds, how many took no longer; one is infinite.
        part: 0 to 1.
    """
    bounds = sorted(buckets)
    wanted = part * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        within = buckets[bound] - below
        if buckets[bound] >= wanted and within > 0:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (wanted - below) / within
        if not math.isinf(bound):
            lower = bound
        below = buckets[bound]
    return lower


def _cumulative(found: Numbers | None, name: str) -> dict[float, float]:
    """Counts by upper bound."""
    if found is None:
        return {}
    counts: dict[float, float] = {}
    for label, count in found.by_label(f"{name}_bucket", "le").items():
        try:
            counts[float(label)] = count
        except ValueError:
            continue
    return counts

"""What a service has done over time, as far as somebody has watched. Pure."""

from dataclasses import dataclass
from typing import Final

from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.operate.latency import BETWEEN_TOKENS, FIRST_TOKEN, WHOLE_REQUEST, Latency, latency
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.rates import rates_of
from vllm_multinode.operate.reading import Change, Recovery
from vllm_multinode.operate.status import ServiceStatus

MOST: Final = 1200
"""Samples that are kept: an hour of one every three seconds."""
_MOST_CHANGES: Final = 400


class Sample(Frozen):
    """One service at one moment; the rates are of the time since the sample before.

    Attributes:
        at: Unix time in seconds.
        prompt_tokens: taken in by the second, of all engines.
        generation_tokens: given out by the second.
        finished: requests by the second.
        running: requests.
        waiting: requests.
        cache_used: of the fullest engine, 0 to 1.
        first_token: seconds to the first token, of the requests since the sample before.
        between_tokens: seconds between two tokens.
        whole_request: seconds from a request's arrival to its end.
    """

    at: float
    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    finished: float | None = None
    running: float | None = None
    waiting: float | None = None
    cache_used: float | None = None
    first_token: Latency | None = None
    between_tokens: Latency | None = None
    whole_request: Latency | None = None


@dataclass(frozen=True)
class History:
    """What was seen of one service. It never changes: a page may be drawn while the next look is taken.

    Attributes:
        samples: the oldest first.
        changes: of its state, the oldest first: what its supervisor tells, and what was seen meanwhile.
        incidents: the oldest first.
    """

    samples: tuple[Sample, ...] = ()
    changes: tuple[Change, ...] = ()
    incidents: tuple[Recovery, ...] = ()
    _last: Observation | None = None

    def after(self, seen: Observation, status: ServiceStatus) -> "History":
        """This history with one more look.

        A supervisor remembers some of it over its own restart, and not all: what it told stays.
        """
        return History(
            samples=(*self.samples, sample(self._last, seen))[-MOST:],
            changes=self._changes(status, seen.now)[-_MOST_CHANGES:],
            incidents=self._incidents(status)[-_MOST_CHANGES:],
            _last=seen,
        )

    def _changes(self, status: ServiceStatus, now: float) -> tuple[Change, ...]:
        known = {(one.at, one.state) for one in self.changes}
        changes = [*self.changes, *(one for one in status.history if (one.at, one.state) not in known)]
        if not changes or changes[-1].state != status.state:
            since = status.since if status.since and not changes else now
            changes.append(Change(at=since, state=status.state, reason=status.reason))
        return tuple(sorted(changes, key=lambda one: one.at))

    def _incidents(self, status: ServiceStatus) -> tuple[Recovery, ...]:
        known = {(one.at, one.reason) for one in self.incidents}
        told = (one for one in status.incidents if (one.at, one.reason) not in known)
        return tuple(sorted((*self.incidents, *told), key=lambda one: one.at))


def sample(before: Observation | None, seen: Observation) -> Sample:
    """One look; without an earlier one it has no rates, and latencies since the engine's start."""
    rates = rates_of(before, seen) if before is not None else []
    after = {pod: found for pod, found in seen.engines.items() if found is not None}
    earlier = [before.engines.get(pod) if before is not None else None for pod in after]
    engines = list(after.values())

    def total(name: str) -> float | None:
        values = [value for one in rates if (value := getattr(one, name)) is not None]
        return sum(values) if values else None

    # What is counted at a moment needs no earlier look.
    now = rates_of(seen, seen)
    return Sample(
        at=seen.now,
        prompt_tokens=total("prompt_tokens"),
        generation_tokens=total("generation_tokens"),
        finished=total("finished"),
        running=_sum([one.running for one in now]),
        waiting=_sum([one.waiting for one in now]),
        cache_used=max((one.cache_used for one in now if one.cache_used is not None), default=None),
        first_token=latency(earlier, engines, FIRST_TOKEN),
        between_tokens=latency(earlier, engines, BETWEEN_TOKENS),
        whole_request=latency(earlier, engines, WHOLE_REQUEST),
    )


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None

"""What a supervisor remembers of its states and incidents, also over its own restart.

A container that ends is started again with the same volumes: what is written to an emptyDir is there. A pod
that is replaced begins with none, which is right: its group is another one.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from vllm_multinode.launcher.kept import kept_file, read_kept, write_kept
from vllm_multinode.launcher.recovery import Cause, Incident

_MOST: Final = 50


@dataclass(frozen=True)
class Happened:
    """An incident: Unix time in seconds, its cause and its reason."""

    at: float
    cause: str
    reason: str


@dataclass
class Incidents:
    """The latest incidents of this pod's groups, and how many there were of each cause.

    Args:
        file: that keeps them over a restart; None keeps them in memory alone.
    """

    file: Path | None = None
    latest: deque[Happened] = field(default_factory=lambda: deque(maxlen=_MOST))
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def kept_in(cls, file: Path, pod: str) -> "Incidents":
        """With what an earlier supervisor of the same pod has left there.

        What cannot be read, or is another pod's, is nobody's: the file is written again with the next one.
        """
        found = cls(file)
        for entry in _read(file, pod):
            found.latest.append(entry)
            found.counts[entry.cause] += 1
        return found

    def add(self, at: float, incident: Incident, pod: str) -> None:
        """Remember one; a volume that is full loses the file, not the supervisor."""
        entry = Happened(at, incident.cause.value, incident.reason)
        self.latest.append(entry)
        self.counts[entry.cause] += 1
        if self.file is None:
            return
        write_kept(self.file, {"pod": pod, "incidents": [asdict(one) for one in self.latest]})

    def described(self) -> dict[str, Any]:
        """The part of `/status`."""
        return {
            "incidents": [asdict(one) for one in self.latest],
            "recoveries_by_cause": dict(self.by_cause),
        }

    @property
    def by_cause(self) -> dict[str, int]:
        """How many of each cause; each is there, so that a rate over it can be asked from the beginning."""
        return {cause.value: self.counts[cause.value] for cause in Cause}


def file_of(environment: Mapping[str, str]) -> Path:
    """Where a pod keeps it."""
    return kept_file(environment, "incidents")


def _read(file: Path, pod: str) -> Iterable[Happened]:
    try:
        kept = read_kept(file)
        if kept["pod"] != pod:
            return []
        causes = {cause.value for cause in Cause}
        return [
            Happened(float(one["at"]), str(one["cause"]), str(one["reason"])[:1000])
            for one in kept["incidents"][-_MOST:]
            if one["cause"] in causes
        ]
    except (ValueError, LookupError, TypeError):
        return []

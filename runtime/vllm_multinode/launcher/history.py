"""What a supervisor remembers of its states and incidents, also over its own restart.

A container that ends is started again with the same volumes: what is written to an emptyDir is there. A pod
that is replaced begins with none, which is right: its group is another one.
"""

import json
import logging
import os
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from vllm_multinode.contract import env
from vllm_multinode.launcher.recovery import Cause, Incident

log = logging.getLogger(__name__)

_MOST: Final = 50
_LARGEST: Final = 1 << 20
"""Bytes of a file that is read: more than fifty entries of 1,000 characters never take."""


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
        body = {"pod": pod, "incidents": [asdict(one) for one in self.latest]}
        part = self.file.with_suffix(".part")
        try:
            part.write_text(json.dumps(body), encoding="utf-8")
            part.replace(self.file)
        except OSError as error:
            log.warning("%s cannot be written: %s", self.file, error.strerror)

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
    """Where a pod keeps it: in the scratch folder, or where temporary files go."""
    folder = environment.get(env.SCRATCH) or environment.get("TMPDIR") or tempfile.gettempdir()
    return Path(folder) / f"vllm-multinode-incidents-{os.geteuid()}.json"


def _read(file: Path, pod: str) -> Iterable[Happened]:
    try:
        if file.is_symlink() or file.stat().st_size > _LARGEST:
            return []
        found = json.loads(file.read_bytes())
        if found["pod"] != pod:
            return []
        causes = {cause.value for cause in Cause}
        return [
            Happened(float(one["at"]), str(one["cause"]), str(one["reason"])[:1000])
            for one in found["incidents"][-_MOST:]
            if one["cause"] in causes
        ]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []

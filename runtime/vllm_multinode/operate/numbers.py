"""What vLLM and the supervisors count, from Prometheus' text format. Pure."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

_SAMPLE: Final = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL: Final = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')

# The engine's names; where a version of vLLM has another one for the same number, both stand here.
CACHE_USED: Final = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
RUNNING: Final = "vllm:num_requests_running"
WAITING: Final = "vllm:num_requests_waiting"
PREEMPTIONS: Final = "vllm:num_preemptions_total"
PROMPT_TOKENS: Final = "vllm:prompt_tokens_total"
GENERATION_TOKENS: Final = "vllm:generation_tokens_total"
FINISHED: Final = "vllm:request_success_total"
FIRST_TOKEN: Final = "vllm:time_to_first_token_seconds"  # noqa: S105 - a metric

OF_STATUS: Final = (RUNNING, WAITING, *CACHE_USED, PREEMPTIONS)
"""What `status` shows of an engine."""
OF_RATES: Final = (
    *OF_STATUS,
    PROMPT_TOKENS,
    GENERATION_TOKENS,
    FINISHED,
    f"{FIRST_TOKEN}_sum",
    f"{FIRST_TOKEN}_count",
)
"""What `top` shows of it."""


@dataclass(frozen=True)
class Sample:
    """One number of an exposition."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Numbers:
    """An exposition, by name.

    Attributes:
        samples: in the order in which they were written.
    """

    samples: tuple[Sample, ...] = field(default=())

    @classmethod
    def read(cls, text: str) -> "Numbers":
        """From the text format; lines that are none of it are left out."""
        return cls(tuple(_samples(text.splitlines())))

    def total(self, *names: str) -> float | None:
        """The sum over all labels of the first of these names that is there; None where none is."""
        for name in names:
            values = [sample.value for sample in self.samples if sample.name == name]
            if values:
                return sum(values)
        return None

    def highest(self, *names: str) -> float | None:
        """The highest of the first of these names that is there; None where none is."""
        for name in names:
            values = [sample.value for sample in self.samples if sample.name == name]
            if values:
                return max(values)
        return None

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """One number for each value of a label."""
        found: dict[str, float] = {}
        for sample in self.samples:
            if sample.name == name and label in sample.labels:
                key = sample.labels[label]
                found[key] = found.get(key, 0.0) + sample.value
        return found


def _samples(lines: Iterable[str]) -> Iterator[Sample]:
    for line in lines:
        match = _SAMPLE.match(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        if math.isfinite(value):
            yield Sample(match[1], dict(_LABEL.findall(match[2] or "")), value)

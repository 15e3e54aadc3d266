"""Leave one family of models out, refit what is fitted, and plan for that family: how far is it off?

A plan is as good for a model that nobody logged as these plans are. The fit begins away from the constants in
use, so that none of them survives because it was found with the family that is left out.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from unit.sizing.observed import Observed, cases, planned
from vllm_multinode.checkpoint.stages import layer_split
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.sizing.planner.fitted import FITTED, Fitted
from vllm_multinode.sizing.planner.profiling import GIB, profile

# What is promised too much counts so many times as much as what is promised too little.
_DANGER = 3
# The fit begins at so much of each constant in use, and narrows its steps from one size to the other.
_START, _WIDE, _NARROW = 1.5, 0.4, 0.03
_SWEEPS = 40
# Words of a checkpoint's name by which models are kin: the first that it has.
_FAMILIES = (
    "llama-3", "llama-4", "codellama", "qwen2.5", "kimi-dev", "qwen3-vl", "qwen3.5", "qwen3-coder", "qwen3",
    "deepseek-r1", "deepseek-v2", "deepseek-v3", "deepseek-v4", "kimi-k2", "gpt-oss", "gemma", "granite",
    "ministral", "mixtral", "minimax", "nemotron",
)  # fmt: skip
# A constant: the field's name, and of a table the TP.
Name = tuple[str, int]


@dataclass(frozen=True)
class Row:
    """One log with a cache to speak of, and what a plan takes from it that is not fitted.

    Attributes:
        observed: the plan in use beside the log.
        family: of the model.
        room: GiB beside the planned weights and the logged cache.
    """

    observed: Observed
    family: str
    room: float

    def excess(self, fitted: Fitted) -> float:
        """GiB that a plan with these constants promises beyond what was logged."""
        found = self.observed
        choice, engine = found.choice, dataclasses.replace(found.request.engine, fitted=fitted)
        model, pp = found.request.source.model, choice.pipeline_parallel
        layers = layer_split(len(model.layers), pp)[0]
        made = profile(
            model, layers, choice.tensor_parallel, pp > 1, pp == 1, choice.batch, engine=engine
        )  # fmt: skip
        graphs = made.graphs if made.graphs_deducted else 0
        return self.room - (made.parts.peak + made.reserve + graphs) / GIB


def rows() -> list[Row]:
    """Of every log that has both figures."""
    found = []
    for case in cases():
        try:
            one = planned(case)
        except MultinodeError:
            continue
        logged = one.logged("kv_gib_per_gpu")
        if logged is None or one.cache_error is None:
            continue
        memory = one.choice.memories[0]
        room = (memory.usable - memory.weights - memory.allowance) / GIB - logged
        found.append(Row(one, _family(case["checkpoint"]), room))
    return found


def _family(checkpoint: str) -> str:
    name = checkpoint.rpartition("/")[2].lower()
    return next((word for word in _FAMILIES if word in name), name)


def names() -> Iterator[Name]:
    for field in dataclasses.fields(Fitted):
        value = getattr(FITTED, field.name)
        if field.name != "rocm_uneven":
            yield from ((field.name, tp) for tp in (value if isinstance(value, Mapping) else (0,)))


def value_of(fitted: Fitted, name: Name) -> float:
    found = getattr(fitted, name[0])
    return float(found[name[1]] if name[1] else found)


def _with(fitted: Fitted, name: Name, value: float) -> Fitted:
    whole: Any = value if not name[1] else MappingProxyType({**getattr(fitted, name[0]), name[1]: value})
    return dataclasses.replace(fitted, **{name[0]: whole})


def _loss(known: list[Row], fitted: Fitted) -> float:
    """GiB a family, on average."""
    many = Counter(row.family for row in known)
    found = ((row.excess(fitted), many[row.family]) for row in known)
    return math.fsum((_DANGER * gib if gib > 0 else -gib) / weight for gib, weight in found) / len(many)


def fit(known: list[Row]) -> Fitted:
    """Constants for these logs: one after the other, with steps that narrow."""
    all_names = list(names())
    fitted = FITTED
    for name in all_names:
        fitted = _with(fitted, name, _START * value_of(FITTED, name))
    best, step = _loss(known, fitted), _WIDE
    for _ in range(_SWEEPS):
        before = best
        for name in all_names:
            for factor in (1 - step, 1 + step):
                tried = _with(fitted, name, factor * value_of(fitted, name))
                if (loss := _loss(known, tried)) < best:
                    fitted, best = tried, loss
        if before - best < 1e-3 * before:
            step /= 2
        if step < _NARROW:
            break
    return fitted


def left_out(known: list[Row]) -> Iterator[tuple[str, list[tuple[Row, float]]]]:
    """Each family, and how far its logs are off with constants fitted to all others."""
    for family in sorted({row.family for row in known}):
        fitted = fit([row for row in known if row.family != family])
        yield family, [(row, row.excess(fitted)) for row in known if row.family == family]

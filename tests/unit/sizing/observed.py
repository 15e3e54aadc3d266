"""Published start logs of vLLM, and what a plan says for each of them."""

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unit.sizing.models import DATA
from vllm_multinode.engines.vllm import vllm_named
from vllm_multinode.sizing.model.sources import Source, find_model
from vllm_multinode.sizing.planner.choice import Choice
from vllm_multinode.sizing.planner.cuts import Planner
from vllm_multinode.sizing.planner.profiling import GIB
from vllm_multinode.sizing.planner.request import Gpu, Request, Settings, find_gpu

FOLDER = DATA / "observed"
# Logs that name no version but a sampler that sorts: between the two that are known to.
UNNAMED_VERSIONS = {"0.12?": "0.12"}


@dataclass(frozen=True)
class Observed:
    """One published start.

    Attributes:
        case: as it stands in cases.jsonl.
        choice: what a plan says for the same sizes.
        context: tokens that were planned for.
        request: that the plan is for.
    """

    case: dict[str, Any]
    choice: Choice
    context: int
    request: Request

    @property
    def name(self) -> str:
        return str(self.case["id"])

    def logged(self, figure: str) -> float | None:
        """A figure in GiB a GPU; None where the log has none or it proves nothing."""
        if figure in self.case.get("skip", ()):
            return None
        found = self.case["observed"].get(figure)
        return None if found is None else float(found)

    @property
    def started(self) -> bool | None:
        found: bool | None = self.case["observed"].get("fits")
        return found

    @property
    def weights_error(self) -> float | None:
        """Part by which planned weights are above the logged ones."""
        logged = self.logged("weights_gib_per_gpu")
        return self.choice.memories[0].weights / GIB / logged - 1 if logged else None

    @property
    def excess_gib(self) -> float | None:
        """GiB for the cache that the plan promises beyond what was logged."""
        logged = self.logged("kv_gib_per_gpu")
        return None if logged is None else self.choice.memories[0].available / GIB - logged

    @property
    def cache_error(self) -> float | None:
        """The same as a part of what was logged, where there was a cache to speak of."""
        logged, excess = self.logged("kv_gib_per_gpu"), self.excess_gib
        return excess / logged if logged and excess is not None and logged > 0.5 else None

    @property
    def token_error(self) -> float | None:
        """Part by which planned bytes of a token are above the logged ones, over a whole request.

        A log has the memory of its first rank, and as many tokens as the rank with the least can hold; a plan
        has both.
        """
        seen = self.case["observed"]
        logged, many = self.logged("kv_gib_per_gpu"), seen.get("max_concurrency")
        tokens = many * self.case["context"] if many else self.logged("kv_tokens")
        if not logged or logged <= 0 or not tokens:
            return None
        planned, many = self.choice.memories[0].available, self.choice.engine_concurrency(self.context)
        if planned > 0 and many > 0:
            held = planned / (many * self.context)
        else:
            cache = self.choice.cache
            held = cache.stage_block_bytes[0] * cache.counted_blocks(self.context) / self.context
        return held / (logged * GIB / tokens) - 1


def cases(path: Path = FOLDER / "cases.jsonl") -> list[dict[str, Any]]:
    """The published starts."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@functools.cache
def model(name: str) -> Source:
    return find_model(str(FOLDER / name) if name.startswith("configs/") else name)


def planned(case: dict[str, Any]) -> Observed:
    """A plan for the sizes of a published start."""
    source = model(case["model"])
    gpu = _gpu(case)
    arguments = _arguments(case)
    tokens, requests = case.get("batch") or (
        arguments.get("max-num-batched-tokens", 0),
        arguments.get("max-num-seqs", 0),
    )
    settings = Settings(
        version=vllm_named(UNNAMED_VERSIONS.get(case["vllm_version"], case["vllm_version"])),
        tokens=int(tokens),
        requests=int(requests),
        block_size=int(arguments.get("block-size", 0)),
        eager="eager" in case["id"] or "enforce-eager" in arguments,
        prefix_caching="no-enable-prefix-caching" not in arguments,
        text_only="language-model-only" in arguments,
        whole_towers=arguments.get("mm-encoder-tp-mode") == "data",
    )
    request = Request(
        source, gpu, gpus_per_node=case["gpus_per_node"],
        node_gpus=(case["gpus_per_node"],) * case["nodes"],
        context=min(case["context"], source.model.max_context or case["context"]),
        kv_dtype=case["kv_dtype"], utilization=case["utilization"], settings=settings,
        tensor_parallel=case["tp"], pipeline_parallel=case["pp"],
    )  # fmt: skip
    planner = Planner(request)
    each = case["tp"] * case["pp"] // case["nodes"]
    return Observed(
        case, planner.with_batch(case["tp"], case["pp"], case["nodes"], each, planner.batch),
        planner.context, request,
    )  # fmt: skip


def _arguments(case: dict[str, Any]) -> dict[str, str]:
    """Of the engine, as the log lists them."""
    pairs = (part.partition(": ") for part in (case.get("args") or "").split("; "))
    return {name: value for name, _, value in pairs}


def _gpu(case: dict[str, Any]) -> Gpu:
    return find_gpu(case["gpu"], case["observed"].get("total_gib") or case.get("gpu_memory"))[0]


def median(values: Iterable[float | None]) -> float:
    """Of those that there are."""
    known = sorted(value for value in values if value is not None)
    middle = len(known) // 2
    return known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2


def share(hits: Iterable[bool]) -> float:
    """Part of them that are true."""
    found = list(hits)
    return math.fsum(found) / len(found)

"""Holds a plan against what an engine logged, part by part, with the likely reason for each difference."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from vllm_multinode.sizing.planner.choice import Choice, Plan
from vllm_multinode.sizing.planner.engine_log import EngineLog, Worker
from vllm_multinode.sizing.planner.profiling import GIB

# Differences below these have no reason worth a word: of weights, of bytes of a token, of small parts in GiB.
_SAME_WEIGHTS, _SAME_TOKENS, _SAME_GIB = 0.01, 0.005, 0.15


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        part: what it is of, in the engine's words where it has some.
        where: the worker; empty for all.
        unit: of the figures.
        planned: None where a plan cannot say.
        logged: None where the log does not.
        reason: for the difference; empty where there is none.
    """

    part: str
    where: str
    unit: str
    planned: float | None
    logged: float | None
    reason: str = ""

    @property
    def difference(self) -> float | None:
        """Planned less logged."""
        return None if self.planned is None or self.logged is None else self.planned - self.logged


def compared(plan: Plan, choice: Choice, log: EngineLog, *, device_known: bool) -> tuple[Row, ...]:
    """Every figure of the log beside the plan's.

    Args:
        plan: for the sizes of the log.
        choice: its cut.
        log: of the engine.
        device_known: whether the plan is for the GPU of the log; only what does not depend on it otherwise.
    """
    rows: list[Row] = []
    on_cpu = log.text("device_config") == "cpu"
    unknown = "VLLM_CPU_KVCACHE_SPACE sets it" if on_cpu else "name the GPU with --gpu to plan it"
    for worker, stage in _stages(log.workers, choice):
        rows += _of_worker(plan, choice, worker, stage, device_known=device_known, unknown=unknown)
    rows += _of_cache(plan, choice, log, device_known=device_known)
    return tuple(rows)


def _stages(workers: list[Worker], choice: Choice) -> Iterator[tuple[Worker, int]]:
    """Each worker with its stage: by its name, else by the order in which they speak."""
    pp = choice.pipeline_parallel
    for place, worker in enumerate(workers):
        named = (number for number in range(pp) if f"PP{number}" in worker.name.split("_"))
        yield worker, min(next(named, place * pp // len(workers)), pp - 1)


def _of_worker(
    plan: Plan, choice: Choice, worker: Worker, stage: int, *, device_known: bool, unknown: str
) -> Iterator[Row]:
    memory = choice.memories[stage]
    if worker.weights is not None:
        planned = memory.weights / GIB
        yield Row(
            "weights", worker.name, "GiB", planned, worker.weights, _of_weights(plan, planned, worker.weights)
        )
    if not device_known:
        if worker.available is not None:
            yield Row("Available KV cache memory", worker.name, "GiB", None, worker.available, unknown)
        return
    if worker.total is not None:
        total = memory.total / GIB
        why = "" if abs(total - worker.total) < _SAME_GIB else "not the planned GPU, or another driver"
        yield Row("total of the device", worker.name, "GiB", total, worker.total, why)
    small = (
        ("activations", memory.activations, worker.activations, _of_activations(choice)),
        (
            "runtime, NCCL",
            memory.profile.reserve,
            worker.reserve,
            "depends on driver and network",
        ),
        ("CUDA graphs", memory.profile.graphs, worker.graphs, "depends on the captured sizes"),
    )
    for part, size, logged, why in small:
        if logged is not None:
            planned = size / GIB
            reason = why if abs(planned - logged) > _SAME_GIB else ""
            yield Row(part, worker.name, "GiB", planned, logged, reason)
    if worker.available is not None:
        planned = memory.available / GIB
        why = _of_available(memory.error / GIB, planned, worker)
        yield Row("Available KV cache memory", worker.name, "GiB", planned, worker.available, why)


def _of_weights(plan: Plan, planned: float, logged: float) -> str:
    """Why loaded weights are others."""
    if abs(planned / logged - 1) <= _SAME_WEIGHTS if logged else planned < _SAME_GIB:
        return ""
    guesses = plan.request.source.model.guesses
    if guesses:
        return f"a guess: {guesses[0]}"
    if logged > planned:
        return "the build keeps more modules unquantised than its config.json says, or its kernels pad them"
    return "not the planned build or quantisation, or layers that are not loaded"


def _of_activations(choice: Choice) -> str:
    batch = choice.batch
    return f"another batch than {batch.tokens} tokens and {batch.requests} requests, or other kernels"


def _of_available(error: float, planned: float, worker: Worker) -> str:
    """Why there is more or less room: what the parts do not explain."""
    difference = planned - (worker.available or 0.0)
    if abs(difference) <= _SAME_GIB:
        return ""
    if abs(difference) <= error:
        return f"within the estimate's error of {error:.1f} GiB"
    if difference < 0:
        return "the engine has more free memory: a smaller batch, or a part above that it does not need"
    if worker.weights is None:
        return "more weights or activations than planned, or another process uses memory of the GPU"
    return "the parts above; another process uses the rest of the GPU's memory"


def _of_cache(plan: Plan, choice: Choice, log: EngineLog, *, device_known: bool) -> Iterator[Row]:
    """Tokens, concurrency, and bytes of a token, which no memory decides."""
    version, context = plan.request.settings.version, plan.context
    available = min((w.available for w in log.workers if w.available is not None), default=None)
    why = "follows from the memory"
    override = log.number("num_gpu_blocks_override")
    if override is not None:
        choice, why = replace(choice, blocks=int(override)), "blocks of another size"
    elif not device_known and available is None:
        return
    elif not device_known and available is not None:
        choice = replace(
            choice, blocks=int(available * GIB // max(choice.cache.stage_block_bytes, default=1))
        )
        why = "the logged memory is rounded"
    held = choice.cache.counted_blocks(context)
    if log.concurrency and available and available > 0 and held and override is None:
        size = max(choice.cache.stage_block_bytes) * held / context
        logged = available * GIB / (log.concurrency[1] * log.concurrency[0])
        other = "blocks of another size, another type of cache, or a rank with less memory"
        differs = _unless_same(size, logged, other)
        why = differs or why
        yield Row("bytes of a token", "", "bytes", size, logged, differs)
    if log.tokens is not None:
        planned = float(choice.engine_tokens(version, context))
        differs = _unless_same(planned, log.tokens, why)
        yield Row("GPU KV cache size", "", "tokens", planned, float(log.tokens), differs)
    if log.concurrency is not None:
        many, logged = choice.engine_concurrency(context), log.concurrency[1]
        part = f"Maximum concurrency for {log.concurrency[0]:,} tokens per request"
        yield Row(part, "", "x", many, logged, _unless_same(many, logged, why))


def _unless_same(planned: float, logged: float, why: str) -> str:
    return "" if logged and abs(planned / logged - 1) <= _SAME_TOKENS else why


def outcome(plan: Plan, log: EngineLog) -> str:
    """Whether the engine did what the verdict said."""
    if log.refused:
        said = {"fits": "fits", "within-error": "within the estimate's error", "does-not-fit": "does not fit"}
        return f"The engine did not start ({log.refused}); the plan's verdict: {said[plan.verdict]}."
    if log.started and plan.verdict == "does-not-fit":
        return "The engine serves; the plan says that it does not fit."
    return ""


def as_object(plan: Plan, log: EngineLog, rows: tuple[Row, ...], planned: dict[str, Any]) -> dict[str, Any]:
    """The comparison in plain types."""
    return {
        "log": {
            "vllm": log.version,
            "workers": len(log.workers),
            "started": log.started,
            "refused": log.refused,
        },
        "outcome": outcome(plan, log),
        "compared": [
            {
                "part": row.part, "worker": row.where, "unit": row.unit, "planned": _rounded(row.planned),
                "logged": _rounded(row.logged), "difference": _rounded(row.difference), "reason": row.reason,
            }
            for row in rows
        ],
        "plan": planned,
    }  # fmt: skip


def as_text(plan: Plan, choice: Choice, log: EngineLog, rows: tuple[Row, ...]) -> str:
    """The comparison for a reader."""
    request = plan.request
    name, version = request.source.name, request.settings.version.name
    lines = [f"{name} on {choice.label} of {request.gpu.name}, vLLM {version}, compared with the log:", ""]
    width = max((len(_label(row)) for row in rows), default=0)
    lines.append(f"  {'':{width}}  {'planned':>12}  {'logged':>12}  {'difference':>12}")
    for row in rows:
        figures = "  ".join(f"{_shown(value):>12}" for value in (row.planned, row.logged, row.difference))
        lines.append(f"  {_label(row):{width}}  {figures}  {row.reason}".rstrip())
    if said := outcome(plan, log):
        lines += ["", said]
    return "\n".join(lines) + "\n"


def _label(row: Row) -> str:
    where = f" ({row.where})" if row.where else ""
    return f"{row.part}{where}, {row.unit}" if row.unit != "x" else f"{row.part}{where}"


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)

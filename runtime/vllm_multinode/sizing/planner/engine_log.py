"""Reads what vLLM logs about its sizes while it starts: its arguments, and every worker's memory by parts."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

LONGEST_LINE = 1 << 16
"""Beyond this a line is no log's. Every pattern below is linear in it, whatever stands there."""
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NUMBER = r"(-?\d[\d,]{0,20}(?:\.\d{1,12})?)"
_WORKER = re.compile(
    r"\((?:EngineCore_\w|Worker|VllmWorker rank=\d|RayWorkerWrapper|RayWorkerProc)[^()]{0,200}\)"
)
_POD = re.compile(r"^\[(?:pod/)?([\w./-]+)\]\s|^([\w.-]+)\s+(?:\w+-container)\s")
# Part of a worker's memory -> how versions of vLLM have logged it, in GiB.
_PARTS = {
    "weights": (
        rf"Model loading took {_NUMBER} Gi?B", rf"Loading model weights took {_NUMBER} Gi?B",
        rf"model weights take {_NUMBER} ?GiB", rf"{_NUMBER} GiB for weight,",
        rf"weights memory: {_NUMBER} ?GiB",
    ),
    "activations": (
        rf"PyTorch activation peak memory takes {_NUMBER} ?GiB", rf"{_NUMBER} GiB for peak activation",
        rf"torch peak memory increase: {_NUMBER} ?GiB",
    ),
    "reserve": (
        rf"non_torch_memory takes {_NUMBER} ?GiB", rf"{_NUMBER} GiB for non-torch memory",
        rf"non-torch forward increase memory: {_NUMBER} ?GiB",
    ),
    "graphs": (
        rf"Estimated CUDA graph memory: {_NUMBER} GiB",
        rf"Graph capturing finished in [\d.]+ secs, took {_NUMBER} GiB",
    ),
    "available": (
        rf"Available KV cache memory: {_NUMBER} GiB",
        rf"the rest of the memory reserved for KV Cache is {_NUMBER} ?GiB",
        rf"available KV cache memory \({_NUMBER} GiB\)",
        rf"Explicitly set \({_NUMBER}/[\d.]+\) GiB for KV cache",
    ),
    "total": (rf"Free memory on device(?: \S+)? \([\d.]+/{_NUMBER} GiB\)",),
}  # fmt: skip
_COMPILED = {part: [re.compile(pattern) for pattern in patterns] for part, patterns in _PARTS.items()}
_TOKENS = re.compile(rf"(?:GPU |CPU )?KV cache size: {_NUMBER} tokens")
_CONCURRENCY = re.compile(rf"Maximum concurrency for {_NUMBER} tokens per request: {_NUMBER}x")
_VERSION = re.compile(
    r"(?:vLLM API server version|LLM engine \(|vLLM version:?|█ +version)\s*v?(\d+\.\d+[\w.+-]*)"
)
_CONFIG = re.compile(r"Initializing an? .{0,99}?LLM engine .{0,199}?with config: (.*)$")
_FIELD = re.compile(r"\b([a-z_]+)=('[^']*'|[^\s,()]+)")
_NON_DEFAULT = re.compile(r"non-default args: \{(.*)\}")
# Values that are no scalars are printed as Python objects, which nothing can read back.
_GIVEN = re.compile(r"'([a-z_]+)': ('[^']*'|-?[\d.]+(?:e-?\d+)?|True|False|None)(?=[,}]|$)")
_CHUNKED = re.compile(r"max_num_batched_tokens=(\d{1,15})")
_OVERRIDE = re.compile(r"num_gpu_blocks_override=(\d{1,15})")
_REFUSED = re.compile(r"(To serve at least one request[^.]*|No available memory for the cache blocks)")
_STARTED = re.compile(r"Application startup complete|Starting vLLM API server|Uvicorn running")
_OTHERS = {
    "SGLang": re.compile(r"\bsglang\b|server_args=ServerArgs", re.IGNORECASE),
    "Text Generation Inference": re.compile(r"text_generation_(?:launcher|router)"),
    "TensorRT-LLM": re.compile(r"\[TensorRT-LLM\]|\[TRT-LLM\]"),
    "llama.cpp": re.compile(r"llama_model_load|llama_context|ggml_"),
}


@dataclass
class Worker:
    """What one worker logged; GiB, None for what it did not.

    Attributes:
        name: as the log calls it; empty where it has one worker.
        weights: of loading.
        activations: torch's peak of a step.
        reserve: what is not torch's.
        graphs: estimated, or as captured.
        available: for the cache.
        total: of the device.
    """

    name: str
    weights: float | None = None
    activations: float | None = None
    reserve: float | None = None
    graphs: float | None = None
    available: float | None = None
    total: float | None = None


@dataclass
class EngineLog:
    """A start.

    Attributes:
        version: of vLLM; empty where the log has none.
        arguments: name with underscores -> value, as the engine resolved or was given them.
        workers: in the order in which they spoke.
        tokens: "GPU KV cache size".
        concurrency: "Maximum concurrency", and the tokens that it is for.
        refused: why the engine did not start; empty where it says nothing.
        started: whether it says that it serves.
    """

    version: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    tokens: int | None = None
    concurrency: tuple[int, float] | None = None
    refused: str = ""
    started: bool = False

    def number(self, *names: str) -> float | None:
        """An argument that is a number."""
        for name in names:
            value = self.arguments.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
        return None

    def flag(self, name: str) -> bool | None:
        """An argument that is true or false."""
        value = self.arguments.get(name)
        return value if isinstance(value, bool) else None

    def text(self, *names: str) -> str:
        """An argument that is a name."""
        return next((self.arguments[name] for name in names if isinstance(self.arguments.get(name), str)), "")


def read_log(lines: Iterable[str], place: str) -> EngineLog:
    """Read a log as the engine wrote it, or as kubectl or a pipe passed it on.

    Args:
        lines: of the log.
        place: how to name it in a message.

    Raises:
        MultinodeError: LOG, for a log of another engine, or one without the lines that say sizes.
    """
    log, other = EngineLog(), ""
    by_name: dict[str, Worker] = {}
    for raw in lines:
        line = _ESCAPES.sub("", raw[:LONGEST_LINE]).rstrip()
        other = other or next((name for name, sign in _OTHERS.items() if sign.search(line)), "")
        if log.tokens is not None and _CONFIG.search(line):
            # The engine starts again: the last start is the one that runs.
            log, by_name = EngineLog(log.version, log.arguments), {}
        _arguments(log, line)
        _sizes(log, line)
        for part, value in _parts(line):
            name = _speaker(line)
            worker = by_name.setdefault(name, Worker(name))
            # An estimate of the graphs comes before what they took; weights come first from loading.
            if getattr(worker, part) is None:
                setattr(worker, part, value)
    log.workers = _of_one_engine(list(by_name.values()))
    if not log.workers and log.tokens is None and not log.refused:
        raise _nothing(place, other)
    return log


def _arguments(log: EngineLog, line: str) -> None:
    if found := _VERSION.search(line):
        log.version = log.version or found[1]
    if found := _NON_DEFAULT.search(line):
        for name, value in _GIVEN.findall(found[1]):
            log.arguments.setdefault(name, _value(value))
    if found := _CONFIG.search(line):
        for name, value in _FIELD.findall(found[1]):
            log.arguments.setdefault(name, _value(value))
    if found := _CHUNKED.search(line):
        log.arguments.setdefault("max_num_batched_tokens", int(found[1]))
    if found := _OVERRIDE.search(line):
        log.arguments["num_gpu_blocks_override"] = int(found[1])


def _value(text: str) -> object:
    """Of a field of the engine's configuration, which prints as Python does."""
    text = text.rstrip(".")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _sizes(log: EngineLog, line: str) -> None:
    if found := _TOKENS.search(line):
        log.tokens = log.tokens or int(_float(found[1]))
    if found := _CONCURRENCY.search(line):
        log.concurrency = log.concurrency or (int(_float(found[1])), _float(found[2]))
    if found := _REFUSED.search(line):
        log.refused = log.refused or found[1]
    log.started = log.started or bool(_STARTED.search(line))


def _parts(line: str) -> Iterator[tuple[str, float]]:
    for part, patterns in _COMPILED.items():
        for pattern in patterns:
            if found := pattern.search(line):
                yield part, _float(found[1])
                break


def _speaker(line: str) -> str:
    """The worker that wrote the line, with its pod where kubectl put it before."""
    pod, worker = _POD.search(line), _WORKER.search(line)
    rank = worker[0][1:-1] if worker else ""
    if not rank.startswith("Ray"):
        # Only Ray's workers have nothing but a process and an address to be told apart by.
        rank = rank.partition(" pid=")[0]
    names = ((pod[1] or pod[2]).split("/")[0] if pod else "", "" if rank.startswith("EngineCore") else rank)
    return " ".join(filter(None, names))


def _of_one_engine(workers: list[Worker]) -> list[Worker]:
    """The workers; what the engine's core repeats of a single one belongs to that one."""
    named = [worker for worker in workers if worker.name]
    unnamed = [worker for worker in workers if not worker.name]
    if not named or not unnamed:
        return workers
    for part in ("weights", "activations", "reserve", "graphs", "available", "total"):
        value = getattr(unnamed[0], part)
        for worker in named:
            if getattr(worker, part) is None and (len(named) == 1 or part == "total"):
                setattr(worker, part, value)
    return named


def _float(text: str) -> float:
    return float(text.replace(",", ""))


def _nothing(place: str, other: str) -> MultinodeError:
    if other:
        what = f"this is a log of {other}; only vLLM's logs can be compared with a plan."
        return MultinodeError(ExitCode.LOG, what, where=place)
    what = 'the log lacks the lines in which vLLM states its sizes, such as "Available KV cache memory".'
    hint = "Give the head's log from its start, at VLLM_LOGGING_LEVEL=INFO or below."
    return MultinodeError(ExitCode.LOG, what, where=place, hint=hint)

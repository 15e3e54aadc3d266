"""`multinode plan --against`: a plan for what an engine's log says, held against that log."""

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TextIO

from vllm_multinode.api.model_source import named_model
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.vllm import vllm_named
from vllm_multinode.k8s.pipes import open_file
from vllm_multinode.sizing.model.sources import Source
from vllm_multinode.sizing.planner import against
from vllm_multinode.sizing.planner.cuts import Planner
from vllm_multinode.sizing.planner.engine_log import LONGEST_LINE, EngineLog, read_log
from vllm_multinode.sizing.planner.plan import as_asked
from vllm_multinode.sizing.planner.report import as_object
from vllm_multinode.sizing.planner.request import Gpu, Request, Settings, equal_nodes, find_gpu

# vLLM's block on CPUs.
_CPU_BLOCK = 128
# A device that holds whatever the log says was held.
_ANY_DEVICE = Gpu("the GPU of the log", 1 << 10)

_LONGEST_LOG: Final = 256 << 20


def hold_against(
    file: str,
    *,
    model: str,
    gpu: str,
    gpu_memory: float | None,
    given: Callable[[Source, Gpu], Request],
    output: str,
) -> str:
    """The comparison, as text or JSON.

    Args:
        file: the log; a hyphen for standard input.
        model: as the user names it; empty for the log's.
        gpu: as the user names it; empty for the one whose total the log has.
        gpu_memory: GiB of it, instead of the catalogue's.
        given: the request with the sizes that the user gave, for what the log lacks.
        output: text, json or yaml.

    Raises:
        MultinodeError: LOG for what is no such log; as for any plan.
    """
    if output == "spec":
        raise MultinodeError(ExitCode.USAGE, "--against compares; -o spec writes what was planned.")
    with _opened(file) as lines:
        log = read_log(lines, "standard input" if file == "-" else file)
    source = _model(model, log)
    accelerator, known = _gpu(gpu, gpu_memory, log)
    asked = _with_log(given(source, accelerator), log)
    plan = as_asked(Planner(asked))
    choice = plan.best
    if choice is None:
        raise MultinodeError(ExitCode.SIZES, "vLLM rejects the sizes of the log.", where=file)
    rows = against.compared(plan, choice, log, device_known=known)
    if output == "text":
        return against.as_text(plan, choice, log, rows)
    found: dict[str, Any] = against.as_object(plan, log, rows, as_object(plan))
    if output == "yaml":
        import yaml

        return yaml.safe_dump(found, sort_keys=False)
    return json.dumps(found, indent=2) + "\n"


@contextmanager
def _opened(file: str) -> Iterator[Iterable[str]]:
    if file == "-":
        yield _lines(sys.stdin, "standard input")
        return
    try:
        with open_file(Path(file)) as stream:
            yield _lines(io.TextIOWrapper(stream, encoding="utf-8", errors="replace"), file)
    except OSError as error:
        what = f"the log cannot be read: {error.strerror or error}."
        raise MultinodeError(ExitCode.LOG, what, where=file) from error


def _lines(stream: TextIO, file: str) -> Iterator[str]:
    """Those of a log, in parts where one is longer than a log's; the stream may have no end.

    Raises:
        MultinodeError: LOG, for what is no text, or longer than a log's beginning.
    """
    left = _LONGEST_LOG
    while line := stream.readline(LONGEST_LINE):
        left -= len(line)
        if "\0" in line:
            raise MultinodeError(ExitCode.LOG, "it is not text.", where=file, hint="Give the engine's log.")
        if left < 0:
            what = f"it is longer than {_LONGEST_LOG >> 20} MiB."
            hint = "Give its part from the engine's last start on."
            raise MultinodeError(ExitCode.LOG, what, where=file, hint=hint)
        yield line


def _model(given: str, log: EngineLog) -> Source:
    name = given or log.text("model", "model_tag")
    if not name:
        what = "the log does not name its model."
        raise MultinodeError(ExitCode.LOG, what, hint="Give the model: multinode plan MODEL --against FILE.")
    try:
        return named_model(name)
    except MultinodeError as error:
        if given:
            raise
        what = f"the log is of model {name!r}, which is not known here: {error.what}"
        hint = "Give the model: multinode plan MODEL --against FILE."
        raise MultinodeError(error.code, what, where=error.where, hint=hint) from error


def _gpu(name: str, memory_gib: float | None, log: EngineLog) -> tuple[Gpu, bool]:
    """The accelerator, and whether it is known."""
    total = next((worker.total for worker in log.workers if worker.total is not None), None)
    if name:
        return find_gpu(name, memory_gib or total)[0], True
    if memory_gib or total:
        return replace(_ANY_DEVICE, memory_gib=memory_gib or total or 0.0), True
    return _ANY_DEVICE, False


def _default_block(log: EngineLog) -> int:
    """Tokens of a block where the engine chooses otherwise than on GPUs; 0 where it does not."""
    return _CPU_BLOCK if log.text("device_config") == "cpu" else 0


def _with_log(base: Request, log: EngineLog) -> Request:
    """What the log says, then what the user says, then the engine's defaults."""
    settings, source = base.settings, base.source
    tp = int(log.number("tensor_parallel_size") or base.tensor_parallel or 1)
    pp = int(log.number("pipeline_parallel_size") or base.pipeline_parallel or 1)
    nodes = max(1, int(log.number("nnodes") or 1))
    prefix, eager = log.flag("enable_prefix_caching"), log.flag("enforce_eager")
    text_only = log.flag("language_model_only")
    context = int(log.number("max_model_len", "max_seq_len") or base.context)
    limit = source.model.max_context
    return replace(
        base,
        gpus_per_node=max(1, tp * pp // nodes),
        node_gpus=equal_nodes(nodes, max(1, tp * pp // nodes)),
        context=min(context, limit) if limit else context,
        utilization=float(log.number("gpu_memory_utilization") or base.utilization),
        kv_dtype="fp8" if "fp8" in log.text("kv_cache_dtype", "cache_dtype") else base.kv_dtype,
        tensor_parallel=tp,
        pipeline_parallel=pp,
        settings=Settings(
            version=vllm_named(log.version) if log.version else settings.version,
            tokens=int(log.number("max_num_batched_tokens") or settings.tokens),
            requests=int(log.number("max_num_seqs") or settings.requests),
            block_size=int(log.number("block_size") or settings.block_size or _default_block(log)),
            eager=settings.eager if eager is None else eager,
            prefix_caching=settings.prefix_caching if prefix is None else prefix,
            text_only=settings.text_only if text_only is None else text_only,
            whole_towers=log.text("mm_encoder_tp_mode") == "data" or settings.whole_towers,
            speculation=settings.speculation,
        ),
    )

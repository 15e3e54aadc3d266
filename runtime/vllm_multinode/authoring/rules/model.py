"""The checks of the launcher's preflight that need the model, with `--model DIR`."""

from collections.abc import Iterator
from pathlib import Path as File
from typing import TYPE_CHECKING, Final

from vllm_multinode.authoring.rules.lws import sizes_of
from vllm_multinode.authoring.rules.rule import LWS_TEMPLATE, WORKER_SPEC, Case, Found, Rule, always

if TYPE_CHECKING:
    from vllm_multinode.k8s.access import Path
    from vllm_multinode.sizing.model.architecture import Architecture
    from vllm_multinode.sizing.planner.rules import Refusal

_KINDS: Final = ("InferenceService", "LeaderWorkerSet")
_RULES: Final = {"heads": "model-heads", "kv-heads": "model-heads", "layers": "model-layers"}
_OTHER: Final = "model-split"


def read_model(place: str) -> "Architecture":
    """The architecture of a model folder whose files are whole, or of a name of the catalogue.

    Raises:
        MultinodeError: MODEL_MISSING, MODEL_CONFIG, SHARD_ABSENT, SHARD_TRUNCATED; USAGE for unknown names.
    """
    # What reads models is loaded where there is one to read.
    from vllm_multinode.sizing.model.sources import find_model

    if File(place).is_dir():
        from vllm_multinode.checkpoint.model_directory import read_model as check_files

        check_files(File(place))
    return find_model(place).model


def _refusals(case: Case) -> list["Refusal"]:
    sizes = _sizes(case)
    if case.architecture is None or sizes is None or min(sizes) < 1:
        return []
    from vllm_multinode.sizing.planner.rules import refusals

    return list(refusals(case.architecture, *sizes))


def _sizes(case: Case) -> tuple[int, int] | None:
    """TP and PP, where the document says them, by itself or through its runtime."""
    if case.document.kind == "LeaderWorkerSet":
        return sizes_of(case)
    if not case.multi_node:
        return None
    return case.size("tensorParallelSize"), case.size("pipelineParallelSize")


def _check(rule: str, case: Case) -> Iterator[Found]:
    path: Path = LWS_TEMPLATE if case.document.kind == "LeaderWorkerSet" else WORKER_SPEC
    for refusal in _refusals(case):
        if _RULES.get(refusal.rule, _OTHER) == rule:
            yield Found(path, f"the engine does not start: {refusal.what}")


def _heads(case: Case) -> Iterator[Found]:
    yield from _check("model-heads", case)


def _layers(case: Case) -> Iterator[Found]:
    yield from _check("model-layers", case)


def _split(case: Case) -> Iterator[Found]:
    yield from _check(_OTHER, case)


RULES: Final = (
    Rule(
        "model-heads",
        "stalls",
        "The engine does not start: attention heads or KV heads do not divide by TP.",
        "Choose a TP that divides them; multinode plan names one.",
        "launcher's preflight; vLLM",
        _heads,
        _KINDS,
        always,
    ),
    Rule(
        "model-layers",
        "stalls",
        "The engine does not start: there are fewer layers than pipeline stages.",
        "Lower PP; multinode plan names one.",
        "launcher's preflight; vLLM",
        _layers,
        _KINDS,
        always,
    ),
    Rule(
        "model-split",
        "stalls",
        "The engine does not start: experts, vocabulary, a width or a quantised group do not divide "
        "by TP, or the "
        "architecture has no pipeline parallelism.",
        "Choose other sizes; multinode plan names some.",
        "vLLM, as multinode plan knows it",
        _split,
        _KINDS,
        always,
    ),
)

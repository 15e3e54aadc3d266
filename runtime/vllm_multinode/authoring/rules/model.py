"""What the model decides, with `--model`, and the memory of the GPU, with `--gpu`."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path as File
from typing import TYPE_CHECKING, Final

from vllm_multinode.authoring.rules.lws import sizes_of
from vllm_multinode.authoring.rules.rule import LWS_TEMPLATE, MODEL, WORKER_SPEC, Case, Rule, always
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.finding import Finding
from vllm_multinode.contract.kserve import claim_and_path
from vllm_multinode.k8s.access import listed, text
from vllm_multinode.k8s.documents import Document

if TYPE_CHECKING:
    from vllm_multinode.contract.finding import Path
    from vllm_multinode.sizing.model.sources import Source
    from vllm_multinode.sizing.planner.rules import Refusal

_KINDS: Final = ("InferenceService", "LeaderWorkerSet")
_RULES: Final = {"heads": "model-heads", "kv-heads": "model-heads", "layers": "model-layers"}
_OTHER: Final = "model-split"
_LIGHTER: Final = re.compile(r"--(quantization|cpu-offload-gb|load-format)\b")


def read_model(place: str) -> "Source":
    """The model of a folder whose files are whole, or of a name of the catalogue.

    Raises:
        MultinodeError: MODEL_MISSING, MODEL_CONFIG, SHARD_ABSENT, SHARD_TRUNCATED; USAGE for unknown names.
    """
    # What reads models is loaded where there is one to read.
    from vllm_multinode.sizing.model.sources import find_model

    if File(place).is_dir():
        from vllm_multinode.checkpoint.model_directory import read_model as check_files

        check_files(File(place))
    return find_model(place)


def named_model(documents: Sequence[Document]) -> "Source | None":
    """The model of the catalogue that the folder of a claim is named after; None for none or several."""
    from vllm_multinode.sizing.model.sources import find_model

    found = {}
    for document in documents:
        source = text(document.body, *MODEL, "storageUri")
        folders = [part for part in claim_and_path(source)[1].split("/") if part] if source else []
        names = ["/".join(folders[-2:]), *folders[-1:]]
        for name in filter(None, dict.fromkeys(names)):
            if File(name).exists():
                continue  # only the catalogue is meant
            with contextlib.suppress(MultinodeError):
                found[name] = find_model(name)
                break
    return next(iter(found.values())) if len(found) == 1 else None


def _refusals(case: Case) -> list["Refusal"]:
    sizes = _sizes(case)
    if case.model is None or sizes is None or min(sizes) < 1:
        return []
    from vllm_multinode.sizing.planner.rules import refusals

    return list(refusals(case.model.model, *sizes))


def _sizes(case: Case) -> tuple[int, int] | None:
    """TP and PP, where the document says them, by itself or through its runtime."""
    if case.document.kind == "LeaderWorkerSet":
        return sizes_of(case)
    if not case.multi_node:
        return None
    return case.size("tensorParallelSize"), case.size("pipelineParallelSize")


def _check(rule: str, case: Case) -> Iterator[Finding]:
    path: Path = LWS_TEMPLATE if case.document.kind == "LeaderWorkerSet" else WORKER_SPEC
    for refusal in _refusals(case):
        if _RULES.get(refusal.rule, _OTHER) == rule:
            yield Finding(path, f"the engine does not start: {refusal.what}")


def _heads(case: Case) -> Iterator[Finding]:
    yield from _check("model-heads", case)


def _layers(case: Case) -> Iterator[Finding]:
    yield from _check("model-layers", case)


def _split(case: Case) -> Iterator[Finding]:
    yield from _check(_OTHER, case)


def _memory(case: Case) -> Iterator[Finding]:
    """Weights alone that are more than vLLM takes of a GPU."""
    sizes = _sizes(case)
    if case.model is None or case.gpu is None or sizes is None or min(sizes) < 1 or _refusals(case):
        return
    if any(_LIGHTER.search(" ".join(map(str, listed(one.body, "args")))) for one in case.containers):
        return  # the engine loads other weights than the files hold, or keeps some elsewhere
    from vllm_multinode.sizing.planner.memory import UTILIZATION
    from vllm_multinode.sizing.planner.profiling import GIB

    tensor, pipeline = sizes
    weights = max(stage.loaded for stage in case.model.cut(tensor).stages(pipeline))
    usable = case.gpu.bytes * UTILIZATION
    if weights > usable:
        message = (
            f"TP {tensor} x PP {pipeline} puts {weights / GIB:.0f} GiB of weights on a GPU, and vLLM takes "
            f"{usable / GIB:.0f} GiB of a {case.gpu.name}: the engine does not start."
        )
        yield Finding(LWS_TEMPLATE if case.document.kind == "LeaderWorkerSet" else WORKER_SPEC, message)


RULES: Final = (
    Rule(
        id="gpu-memory",
        severity="stalls",
        message="The weights per GPU exceed its memory.",
        hint="Increase TP or PP; multinode plan shows sizes that fit.",
        seen="the sizes of the model's weights",
        check=_memory,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="model-heads",
        severity="stalls",
        message="The engine does not start: attention heads or KV heads are not divisible by TP.",
        hint="Choose a TP that divides them; multinode plan shows one.",
        seen="launcher's preflight; vLLM",
        check=_heads,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="model-layers",
        severity="stalls",
        message="The engine does not start: there are fewer layers than pipeline stages.",
        hint="Decrease PP; multinode plan shows a valid one.",
        seen="launcher's preflight; vLLM",
        check=_layers,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="model-split",
        severity="stalls",
        message=(
            "The engine does not start: experts, vocabulary, a width or a "
            "quantised group are not divisible by TP, or the architecture has no pipeline parallelism."
        ),
        hint="Choose other sizes; multinode plan shows some.",
        seen="vLLM, as multinode plan knows it",
        check=_split,
        kinds=_KINDS,
        holds=always,
    ),
)

"""LLMInferenceService of KServe: one engine over several nodes is converted, everything else is rejected."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vllm_multinode.convert import engine_arguments, pods
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.engine_arguments import Given, shown
from vllm_multinode.convert.kserve import take_uri
from vllm_multinode.convert.lws import take_metadata
from vllm_multinode.convert.record import Path, Record

_PARALLELISM: Final[Path] = ("spec", "parallelism")
_ARGUMENTS: Final = "VLLM_ADDITIONAL_ARGS"
_NO_LINE: Final = "It is not a plain command line. Write each argument under arguments."
_ELSEWHERE: Final = (
    "Keep it as LLMInferenceService: it is made for data and expert parallelism and separate prefill."
)


def is_kind(body: Mapping[str, Any]) -> bool:
    """Whether a document is an LLMInferenceService."""
    return body.get("kind") == "LLMInferenceService"


def convert(record: Record) -> list[Draft]:
    """The service of an LLMInferenceService that means one engine."""
    for path in ((*_PARALLELISM, "data"), (*_PARALLELISM, "dataLocal"), (*_PARALLELISM, "expert")):
        value = record.get(*path)
        if value not in (None, False, 0, 1):
            record.refused(path, f"A group is one engine. {_ELSEWHERE}")
            return []
    if record.get("spec", "prefill") is not None:
        record.refused(("spec", "prefill"), f"A group is one engine. {_ELSEWHERE}")
        return []
    draft = Draft(str(record.get("metadata", "name") or "model"))
    take_metadata(record, draft)
    uri = record.get("spec", "model", "uri")
    if not isinstance(uri, str):
        record.refused(("spec",), "It names no model.")
        return []
    take_uri(record, draft, ("spec", "model", "uri"), uri)
    _sizes(record, draft)
    if record.get("spec", "worker") is not None:
        pods.take_worker(record, Draft(draft.name), ("spec", "worker"))
    if record.get("spec", "template") is not None:
        pods.take_pod(record, draft, ("spec", "template"))
        _further_arguments(record, draft)
    record.drop(("spec",), {"router": "Set publish for access from outside; replicas have their own router."})
    return [draft]


def _further_arguments(record: Record, draft: Draft) -> None:
    """The variable that KServe's own templates put behind vLLM's command line."""
    variables = draft.get("env") or {}
    for container, _ in enumerate(record.list("spec", "template", "containers")):
        base: Path = ("spec", "template", "containers", container, "env")
        for index, item in enumerate(record.list(*base)):
            if not isinstance(item, Mapping) or item.get("name") != _ARGUMENTS:
                continue
            variables.pop(_ARGUMENTS, None)
            path = (*base, index)
            text = item.get("value")
            try:
                words = shlex.split(text) if isinstance(text, str) and "{{" not in text else None
            except ValueError:
                words = None
            if words is None:
                record.not_carried(path, _NO_LINE)
                continue
            scratch = Record({"words": words}, record.label)
            given = [Given(word, ("words", number)) for number, word in enumerate(words)]
            engine_arguments.from_list(scratch, draft, given, {})
            lost = [f"{shown(words[number])}: {why}" for number, why in _not_carried(scratch)]
            if lost:
                record.not_carried(path, " ".join(lost))
            else:
                record.changed(path, "arguments", "KServe's templates put it behind vLLM's command line.")
    if not variables:
        draft.fields.pop("env", None)


def _not_carried(record: Record) -> Iterator[tuple[int, str]]:
    for number, row in enumerate(record.rows()):
        if row.status == "not_carried":
            yield number, row.why


def _sizes(record: Record, draft: Draft) -> None:
    served = record.get("spec", "model", "name")
    if isinstance(served, str) and served:
        draft.set("model.servedName", served)
        record.carried(("spec", "model", "name"), "model.servedName")
    for size, target in (("tensor", "parallelism.tensor"), ("pipeline", "parallelism.pipeline")):
        value = record.count(*_PARALLELISM, size)
        if value:
            draft.set(target, value)
            record.carried((*_PARALLELISM, size), target)
    replicas = record.count("spec", "replicas")
    if replicas:
        draft.set("replicas", replicas)
        record.carried(("spec", "replicas"), "replicas")

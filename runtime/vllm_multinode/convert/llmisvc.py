"""LLMInferenceService of KServe: one engine over several nodes is converted, everything else is refused."""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.convert import pods
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.kserve import take_uri
from vllm_multinode.convert.lws import take_metadata
from vllm_multinode.convert.record import Path, Record

_PARALLELISM: Final[Path] = ("spec", "parallelism")
_ELSEWHERE: Final = (
    "Keep it as LLMInferenceService: data and expert parallelism and separate prefill are what it is for."
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
    record.drop(("spec",), {"router": "Write publish for a way in; replicas have a router of their own."})
    return [draft]


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

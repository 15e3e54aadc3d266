"""LeaderWorkerSet manifests of vLLM: each group of pods becomes a group of nodes."""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.convert import pods
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.record import Path, Record
from vllm_multinode.convert.secrets import is_secret

GROUP: Final = "leaderworkerset.x-k8s.io"
_TEMPLATE: Final[Path] = ("spec", "leaderWorkerTemplate")
_DATA_PARALLEL: Final = "Data parallelism over nodes is llm-d's: a group here is one engine."
_ROLES: Final = "Separate prefill and decode are llm-d's: a group here is one engine, which does both."
_ROLE: Final = "llm-d.ai/role"
_SERVERS: Final[Mapping[str, str]] = {
    "sglang": "SGLang",
    "trtllm": "TensorRT-LLM",
    "tensorrt": "TensorRT-LLM",
    "llama-server": "llama.cpp",
    "llama.cpp": "llama.cpp",
    "text-generation-launcher": "TGI",
}
"""What stands in the command of another server -> its name."""


def is_kind(body: Mapping[str, Any]) -> bool:
    """Whether a document is a LeaderWorkerSet, or a DisaggregatedSet that holds several."""
    version = str(body.get("apiVersion", ""))
    if body.get("kind") == "DisaggregatedSet":
        return version.startswith(("disaggregatedset.x-k8s.io", GROUP))
    return body.get("kind") == "LeaderWorkerSet" and version.startswith(GROUP)


def convert(record: Record) -> list[Draft]:
    """The service of a LeaderWorkerSet."""
    if record.body.get("kind") == "DisaggregatedSet":
        record.refused(("spec",), _ROLES)
        return []
    if not record.has_version(f"{GROUP}/v1"):
        return []
    draft = Draft(str(record.get("metadata", "name") or "model"))
    take_metadata(record, draft)
    leader: Path = (*_TEMPLATE, "leaderTemplate", "spec")
    worker: Path = (*_TEMPLATE, "workerTemplate", "spec")
    if record.get(*leader) is None:
        leader, worker = worker, ()
    if worker:
        pods.take_worker(record, Draft(draft.name), worker)
    has_pod = pods.take_pod(record, draft, leader)
    _refuse(record, leader, has_pod)
    if record.is_refused:
        return []
    _group(record, draft)
    return [draft]


def _refuse(record: Record, leader: Path, has_pod: bool) -> None:
    """What no group of one engine stands for."""
    if not has_pod or not _runs_vllm(record, leader):
        why = f"None of its containers starts vLLM.{_server(record, leader)}"
        record.refused((*leader, "containers"), why)
    elif "--data-parallel-size" in str(record.get(*leader)):
        record.refused((*leader, "containers"), _DATA_PARALLEL)
    elif record.get("metadata", "labels", _ROLE) in ("prefill", "decode"):
        record.refused(("metadata", "labels", _ROLE), _ROLES)


def _group(record: Record, draft: Draft) -> None:
    size = record.count(*_TEMPLATE, "size")
    if size:
        draft.nodes = size
        record.changed(
            (*_TEMPLATE, "size"), "parallelism.nodes", "The pods of a group follow from the sizes."
        )
    replicas = record.count("spec", "replicas")
    if replicas:
        draft.set("replicas", replicas)
        record.carried(("spec", "replicas"), "replicas")
    record.replace(
        _TEMPLATE,
        {
            "restartPolicy": "The group heals in place; no pod is re-created because of another.",
            "subGroupPolicy": "A group is one engine.",
        },
    )
    record.replace(
        ("spec",),
        {
            "rolloutStrategy": "deploymentStrategy controls updates.",
            "startupPolicy": "Workers wait for the head by themselves.",
            "networkConfig": "KServe's Services name the head.",
        },
    )
    for part in ("leaderTemplate", "workerTemplate"):
        if record.get(*_TEMPLATE, part, "metadata") is not None:
            record.not_carried((*_TEMPLATE, part, "metadata"), "Write labels and annotations of the service.")


def _runs_vllm(record: Record, base: Path) -> bool:
    containers = [one for one in record.list(*base, "containers") if isinstance(one, Mapping)]
    return any(pods.runs_vllm(one) for one in containers)


def _server(record: Record, base: Path) -> str:
    text = str(record.get(*base, "containers")).lower()
    name = next((title for word, title in _SERVERS.items() if word in text), "")
    return f" It runs {name}." if name else ""


def take_metadata(record: Record, draft: Draft) -> None:
    """Take an object's namespace, labels and annotations."""
    record.carried(("apiVersion",), "", "It identifies the document.")
    record.carried(("kind",), "", "It identifies the document.")
    if isinstance(record.get("metadata", "namespace"), str):
        draft.set("namespace", record.get("metadata", "namespace"))
        record.carried(("metadata", "namespace"), "namespace")
    for field in ("labels", "annotations"):
        for key, value in record.entries("metadata", field).items():
            path: Path = ("metadata", field, key)
            if GROUP.partition(".")[0] in str(key) or "kubectl.kubernetes.io" in str(key):
                record.not_carried(path, "It configures another controller.")
            elif is_secret(value):
                record.not_carried(path, "It looks like a secret in plain text.")
            else:
                draft.put(field, str(key), value)
                record.carried(path, f'{field}["{key}"]')
    if record.get("status") is not None:
        record.changed(("status",), "", "It is what is reported, not what is requested.")

"""The claims that models are read from: whether all nodes can mount them, and their size."""

from collections.abc import Iterator, Sequence
from typing import Final

from vllm_multinode.authoring.rules.rule import (
    LWS_TEMPLATE,
    MODEL,
    PREDICTOR,
    WORKER_SPEC,
    Case,
    Rule,
    always,
    lws_parts,
)
from vllm_multinode.contract.finding import Finding, Path
from vllm_multinode.contract.kserve import CLAIM_SCHEME, claim_and_path
from vllm_multinode.k8s import quantity
from vllm_multinode.k8s.access import at, listed, number, text
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.kserve.nodes import Layout

_KINDS: Final = ("InferenceService", "LeaderWorkerSet")
_SHARED: Final = frozenset({"ReadWriteMany", "ReadOnlyMany"})
_GIB: Final = 1 << 30


def claims_elsewhere(documents: Sequence[Document]) -> Iterator[str]:
    """A sentence for each service whose claim is not among the documents: which claim, and which folder."""
    given = {(one.namespace, one.name) for one in documents if one.kind == "PersistentVolumeClaim"}
    for document in documents:
        source = text(document.body, *MODEL, "storageUri")
        if document.kind != "InferenceService" or not source.startswith(CLAIM_SCHEME):
            continue
        claim, folder = claim_and_path(source)
        if claim and (document.namespace, claim) not in given:
            place = f"the folder {folder} of the claim {claim}" if folder else f"the claim {claim}"
            yield f"{document.name} reads {place}, which is not among these files: fill it first."


def _mounted(case: Case) -> Iterator[tuple[Path, Document]]:
    """The claims among the documents that a group's pods mount, and where it says so."""
    claims = {one.name: one for one in case.documents if one.kind == "PersistentVolumeClaim"}
    named: list[tuple[Path, str]] = []
    source = text(case.body, *MODEL, "storageUri")
    if source.startswith(CLAIM_SCHEME):
        named.append(((*MODEL, "storageUri"), claim_and_path(source)[0]))
    for pod in _pods(case):
        for index, volume in enumerate(listed(case.body, *pod, "volumes")):
            path = (*pod, "volumes", index, "persistentVolumeClaim", "claimName")
            named.append((path, text(volume, "persistentVolumeClaim", "claimName")))
    for path, name in named:
        claim = claims.get(name)
        if claim is not None and _same(claim.namespace, case.document.namespace):
            yield path, claim


def _pods(case: Case) -> list[Path]:
    if case.document.kind == "InferenceService":
        return [PREDICTOR, WORKER_SPEC]
    return [(*LWS_TEMPLATE, part, "spec") for part, _ in lws_parts(case.body)]


def _same(one: str, other: str) -> bool:
    return not one or not other or one == other


def _nodes(case: Case) -> int:
    """Pods of the group; 2 where they cannot be counted."""
    if case.document.kind == "LeaderWorkerSet":
        return number(case.body, *LWS_TEMPLATE, "size") or 1
    if not case.multi_node:
        return 1
    return case.layout.nodes if isinstance(case.layout, Layout) else 2


def _one_node_only(case: Case, mode: str) -> Iterator[Finding]:
    nodes = _nodes(case)
    for path, claim in _mounted(case) if nodes > 1 else ():
        modes = set(map(str, listed(claim.body, "spec", "accessModes")))
        if modes & _SHARED or ("ReadWriteOncePod" in modes) is not (mode == "ReadWriteOncePod"):
            continue
        if mode in modes:
            whom = "one pod" if mode == "ReadWriteOncePod" else "the pods of one node"
            yield Finding(
                path,
                f"the claim {claim.name} is {mode}: {whom} may mount it, and the group has {nodes} pods.",
            )


def _one_node(case: Case) -> Iterator[Finding]:
    yield from _one_node_only(case, "ReadWriteOnce")


def _one_pod(case: Case) -> Iterator[Finding]:
    yield from _one_node_only(case, "ReadWriteOncePod")


def _too_small(case: Case) -> Iterator[Finding]:
    source = text(case.body, *MODEL, "storageUri")
    if case.model is None or not source.startswith(CLAIM_SCHEME):
        return
    needed = case.model.published_bytes or case.model.cut(1).checkpoint
    for path, claim in _mounted(case):
        asked = at(claim.body, "spec", "resources", "requests", "storage")
        try:
            size = quantity.parse(asked) if asked is not None else None
        except ValueError:
            continue
        if path == (*MODEL, "storageUri") and size is not None and size < needed:
            what = (
                f"the claim {claim.name} asks for {float(size) / _GIB:.0f} GiB, and the files of "
                f"{case.model.name} have {float(needed) / _GIB:.0f} GiB."
            )
            yield Finding(path, what)


RULES: Final = (
    Rule(
        id="claim-one-node",
        severity="risk",
        message="A ReadWriteOnce claim can be mounted only on one node; pods on other nodes wait for it.",
        hint="Use ReadWriteMany or ReadOnlyMany; if the storage supports neither, give each node a copy.",
        seen="Kubernetes' persistent volumes",
        check=_one_node,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="claim-one-pod",
        severity="stalls",
        message="A ReadWriteOncePod claim can be mounted by one pod; the others are never scheduled.",
        hint="Use ReadWriteMany or ReadOnlyMany.",
        seen="Kubernetes' persistent volumes",
        check=_one_pod,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="claim-size",
        severity="stalls",
        message="The claim is smaller than the model's files.",
        hint="Request more storage; multinode plan shows how much.",
        seen="the sizes of the model's files",
        check=_too_small,
        holds=always,
    ),
)

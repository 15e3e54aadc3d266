"""What will be refused, what will never serve, and what could be better; each rule release by release."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from vllm_multinode.authoring.rules import (
    executors,
    groups,
    lws,
    model,
    naming,
    ours,
    pods,
    refused,
    schema,
    stalls,
)
from vllm_multinode.authoring.rules.finding import Finding
from vllm_multinode.authoring.rules.rule import SEVERITIES, Case, Found, Rule, Severity
from vllm_multinode.k8s.access import shown
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.releases import MULTI_NODE_KSERVE, Release

if TYPE_CHECKING:
    from vllm_multinode.sizing.model.architecture import Architecture

__all__ = ["RULES", "SEVERITIES", "Finding", "Rule", "Severity", "validate"]

RULES: Final[tuple[Rule, ...]] = (
    *schema.RULES,
    *refused.RULES,
    *naming.RULES,
    *stalls.RULES,
    *groups.RULES,
    *executors.RULES,
    *pods.RULES,
    *ours.RULES,
    *lws.RULES,
    *model.RULES,
)
"""Every rule, in the order of docs/rules.md."""


def validate(
    documents: Sequence[Document],
    releases: Sequence[Release] = MULTI_NODE_KSERVE,
    model: "Architecture | None" = None,
) -> list[Finding]:
    """What each rule says of each document, for each release; the same finding once, with its releases.

    Args:
        documents: as `k8s.files.read` returns them; a service is checked with its ServingRuntime
            where that is among them.
        releases: of KServe or OpenShift AI.
        model: the model that is to be served, as `read_model` reads it.
    """
    found: dict[tuple[int, str, str, str, str], tuple[Rule, Found, Document, list[Release]]] = {}
    for release in releases:
        for number, document in enumerate(documents):
            case = Case(document, documents, release, model)
            for rule, one in _broken(case):
                key = (number, rule.id, shown(one.path), one.message, one.hint)
                found.setdefault(key, (rule, one, document, []))[3].append(release)
    return [_finding(*parts) for parts in found.values()]


def missing_runtimes(documents: Sequence[Document], release: Release) -> list[str]:
    """The names of ServingRuntimes that InferenceServices name and that are not among the documents."""
    cases = (Case(document, documents, release) for document in documents)
    names = (case.selection.missing for case in cases if case.selection is not None)
    return sorted({name for name in names if name})


def _broken(case: Case) -> Iterable[tuple[Rule, Found]]:
    for rule in RULES:
        if case.document.kind in rule.kinds and rule.holds(case.release):
            for one in rule.check(case):
                yield rule, one


def _finding(rule: Rule, one: Found, document: Document, releases: list[Release]) -> Finding:
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        releases=tuple(releases),
        file=document.source.file if document.source is not None else document.file,
        kind=document.kind,
        name=document.name,
        path=shown(one.path),
        line=document.line(one.path) or None,
        message=one.message or rule.message,
        hint=one.hint or rule.hint,
        document=document,
        steps=one.path,
        fix=one.fix,
    )

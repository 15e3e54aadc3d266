"""What will be rejected, what will never serve, and what could be better; each rule release by release."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from vllm_multinode.authoring.rules import (
    api_server,
    claims,
    controllers,
    executors,
    fields,
    groups,
    guards,
    images,
    launcher,
    lws,
    model,
    openshift_ai,
    pod_settings,
    publishing,
    queues,
    scaling,
    webhooks,
)
from vllm_multinode.authoring.rules.known import known_runtimes
from vllm_multinode.authoring.rules.rule import Case, Rule
from vllm_multinode.contract.finding import SEVERITIES, Finding, Severity
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.kserve.simulate import simulate
from vllm_multinode.platforms.releases import MULTI_NODE_KSERVE, Release
from vllm_multinode.platforms.simulation import Simulation

if TYPE_CHECKING:
    from vllm_multinode.sizing.model.sources import Source
    from vllm_multinode.sizing.planner.request import Gpu

__all__ = ["RULES", "SEVERITIES", "Finding", "Rule", "Severity", "judge", "validate"]

RULES: Final[tuple[Rule, ...]] = (
    *fields.RULES,
    *webhooks.RULES,
    *controllers.RULES,
    *api_server.RULES,
    *groups.RULES,
    *executors.RULES,
    *claims.RULES,
    *pod_settings.RULES,
    *guards.RULES,
    *publishing.RULES,
    *images.RULES,
    *scaling.RULES,
    *queues.RULES,
    *openshift_ai.RULES,
    *launcher.RULES,
    *lws.RULES,
    *model.RULES,
)
"""Every rule, in the order of docs/rules.md."""


def validate(
    documents: Sequence[Document],
    releases: Sequence[Release] = MULTI_NODE_KSERVE,
    model: "Source | None" = None,
    gpu: "Gpu | None" = None,
) -> list[Finding]:
    """What each rule says of each document, for each release; the same finding once, with its releases.

    Args:
        documents: as `k8s.files.read` returns them; a service is checked with its ServingRuntime where
            that is among them, or known.
        releases: of KServe or OpenShift AI.
        model: the model that is to be served, as `read_model` reads it.
        gpu: what the nodes have.
    """
    return merged(judge(documents, release, model, gpu)[0] for release in releases)


def judge(
    documents: Sequence[Document],
    release: Release,
    model: "Source | None" = None,
    gpu: "Gpu | None" = None,
    generation: int = 1,
) -> tuple[list[Finding], Simulation]:
    """The findings of one release and what it makes of the documents: the judgement of all commands.

    Args:
        documents: as `validate`'s.
        release: of KServe or OpenShift AI.
        model: that is to be served.
        gpu: what the nodes have.
        generation: metadata.generation of the InferenceServices.
    """
    known = list(known_runtimes(documents, release).values())
    simulation = simulate([one.body for one in documents], release, known=known, generation=generation)
    everything = [*documents, *(Document("known", 0, body) for body in known)]
    findings = []
    for place, document in enumerate(documents):
        case = Case(document, everything, release, model, gpu, simulation.findings.get(place, ()))
        findings += [_complete(rule, finding, document, release) for rule, finding in _broken(case)]
    return findings, simulation


def merged(judged: Iterable[Sequence[Finding]]) -> list[Finding]:
    """The findings of several releases: the same one once, with all its releases."""
    kept: dict[tuple[object, ...], Finding] = {}
    for findings in judged:
        for finding in findings:
            document = finding.document
            place = (
                finding.file,
                document.index if document is not None and document.root is not None else 0,
            )
            key = (
                *place,
                finding.kind,
                finding.name,
                finding.rule,
                finding.steps,
                finding.message,
                finding.hint,
            )
            if key in kept and finding.releases[0] not in kept[key].releases:
                kept[key] = replace(kept[key], releases=(*kept[key].releases, *finding.releases))
            kept.setdefault(key, finding)
    return list(kept.values())


def _broken(case: Case) -> Iterable[tuple[Rule, Finding]]:
    for rule in RULES:
        if case.document.kind in rule.kinds and rule.holds(case.release):
            for finding in rule.check(case):
                yield rule, finding


def _complete(rule: Rule, finding: Finding, document: Document, release: Release) -> Finding:
    """A finding with its rule's words where it has none of its own, and with its place."""
    message = finding.message
    if rule.severity == "refused" and finding.rule and message:
        message = f"KServe rejects it: {message.rstrip('.').removesuffix(' in namespace')}."
    return replace(
        finding,
        rule=rule.id,
        severity=rule.severity,
        releases=(release,),
        file=document.source.file if document.source is not None else document.file,
        kind=document.kind,
        name=document.name,
        line=document.line(finding.steps) or None,
        message=message or rule.message,
        hint=finding.hint or rule.hint,
        document=document,
    )

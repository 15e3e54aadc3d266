"""What a release makes of ServingRuntimes and InferenceServices, told without a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vllm_multinode.contract.finding import Finding
from vllm_multinode.platforms.kserve import admission, findings, openshift_ai, schema
from vllm_multinode.platforms.kserve.defaulting import defaulted, runtime_spec
from vllm_multinode.platforms.kserve.notes import notes_of_service
from vllm_multinode.platforms.kserve.pods import NothingMade
from vllm_multinode.platforms.kserve.reconcile import Source, group
from vllm_multinode.platforms.kserve.selection import Selection, select
from vllm_multinode.platforms.lws import lws_group
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body, Group, Simulation

_SERVICE: Final = "InferenceService"
_UNCOUNTABLE: Final = frozenset({"pipeline-size", "tensor-size", "worker-containers", "gpu-types-annotation"})
"""Refusals after which nodes and GPUs cannot be counted."""


@dataclass
class _Run:
    """One simulation: the runtimes that are let in, and what has been found so far."""

    release: Release
    generation: int
    runtimes: list[Body] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    findings: dict[int, list[Finding]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, place: int, *found: Finding) -> None:
        """Findings of the object at a place; of two about one field and rule the first is told."""
        kept = self.findings.setdefault(place, [])
        for one in found:
            if all((one.rule, one.steps) != (other.rule, other.steps) for other in kept):
                kept.append(one)


def simulate(
    bodies: Sequence[Mapping[str, Any]],
    release: Release,
    *,
    known: Sequence[Mapping[str, Any]] = (),
    generation: int = 1,
    lws: bool = True,
) -> Simulation:
    """What a release makes of objects; what it does not read, or its schema rejects, is passed over.

    Args:
        bodies: objects as plain data, in the order in which they are applied.
        release: of KServe or OpenShift AI.
        known: runtimes that the cluster has besides.
        generation: metadata.generation of the InferenceServices, which their Services are named after.
        lws: also tell the pods of LeaderWorkerSets.
    """
    run = _Run(release, generation)
    readable = [
        (place, body)
        for place, body in enumerate(bodies)
        if body.get("kind") in schema.SCHEMAS and schema.is_shaped(body)
    ]
    for place, body in readable:
        if body["kind"] in admission.RUNTIME_WEBHOOKS:
            _runtime(run, place, body)
    for body in known:
        run.runtimes.append(_pruned(body, release))
        run.places.append(-1)
    for place, body in readable:
        if body["kind"] == _SERVICE:
            _service(run, place, body)
        elif body["kind"] == "LeaderWorkerSet" and lws:
            run.groups.append(lws_group(body))
    return Simulation(
        release=release,
        groups=tuple(run.groups),
        findings={place: tuple(found) for place, found in run.findings.items()},
        notes=tuple(dict.fromkeys(run.notes)),
    )


def _pruned(body: Mapping[str, Any], release: Release) -> Body:
    return {**body, "metadata": dict(body["metadata"]), "spec": runtime_spec(body, release)}


def _runtime(run: _Run, place: int, body: Mapping[str, Any]) -> None:
    """Let a runtime in, pruned; a later one of the same name takes the earlier one's place."""
    pruned = _pruned(body, run.release)
    beside = [one for one in run.runtimes if _is_beside(one, pruned)]
    refused = admission.refusals_of_runtime(pruned, run.release, beside)
    run.add(place, *refused)
    if refused:
        return
    for index, other in enumerate(run.runtimes):
        if _is_beside(other, pruned) and other["metadata"]["name"] == pruned["metadata"]["name"]:
            run.runtimes[index], run.places[index] = pruned, place
            return
    run.runtimes.append(pruned)
    run.places.append(place)


def _is_beside(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one["kind"] != other["kind"]:
        return False
    wide = one["kind"] == "ClusterServingRuntime"
    return wide or bool(one["metadata"].get("namespace") == other["metadata"].get("namespace"))


def _service(run: _Run, place: int, body: Mapping[str, Any]) -> None:
    """Admit a service and make its group; what would come after a refusal is told as well."""
    service = defaulted(body, run.release)
    refused = admission.refusals_of_service(service, run.release)
    run.add(place, *refused)
    own = findings.of_service(body, service, run.release)
    run.add(place, *own)
    if not refused:
        run.notes += notes_of_service(body, service, run.release)
    if service["spec"]["predictor"].get("model") is None:
        return
    chosen = select(service, run.runtimes, run.release)
    if chosen.runtime is None:
        run.add(place, _unselected(chosen))
        return
    if any(one.rule in _UNCOUNTABLE for one in refused):
        return
    source = Source(service, chosen.runtime, run.release, run.generation)
    try:
        made = group(source)
    except NothingMade as stop:
        of_runtime = next(
            (at for at, one in zip(run.places, run.runtimes, strict=True) if one is chosen.runtime), -1
        )
        run.add(of_runtime if stop.of_runtime and of_runtime >= 0 else place, stop.finding)
        return
    run.add(place, *findings.of_group(source, made), *openshift_ai.of_group(source, made))
    if not refused and not findings.ends_everything(own):
        run.groups.append(made)


def _unselected(chosen: Selection) -> Finding:
    if chosen.elsewhere:
        return Finding(
            chosen.path, f"{chosen.problem}: what depends on it was not checked.", rule="runtime-unknown"
        )
    message = f"KServe creates nothing and sets modelStatus FailedToLoad: {chosen.problem}"
    return Finding(chosen.path, message, rule="runtime-not-fitting")

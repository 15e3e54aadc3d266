"""What KServe makes of ServingRuntimes and InferenceServices, told without a cluster.

preview(bodies, "0.18.1").objects
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_multinode.platforms.kserve import admission, schema
from vllm_multinode.platforms.kserve.defaulting import defaulted, runtime_spec
from vllm_multinode.platforms.kserve.notices import warnings_of_group, warnings_of_input
from vllm_multinode.platforms.kserve.pods import NothingMade
from vllm_multinode.platforms.kserve.reconcile import Source, group
from vllm_multinode.platforms.kserve.selection import Selection, select
from vllm_multinode.platforms.kserve.stalls import stalls_of_group, stalls_of_input
from vllm_multinode.platforms.lws import lws_group
from vllm_multinode.platforms.model import Body, Finding, Group, Path, Preview, Role
from vllm_multinode.platforms.releases import Release, find

__all__ = ["Finding", "Group", "Preview", "Role", "preview"]


def preview(
    bodies: Sequence[Mapping[str, Any]], platform: str | Release, *, generation: int = 1, lws: bool = True
) -> Preview:
    """What a release makes of the objects among `bodies`; kinds that it does not read are passed over.

    Args:
        bodies: objects as plain data, in the order in which they are applied.
        platform: a release, or its name: kserve-0.19.0, openshift-ai-2.25.
        generation: metadata.generation of the InferenceServices, which their Services are named after.
        lws: also tell the pods of LeaderWorkerSets.

    Raises:
        MultinodeError: an unknown release, or an object that the API server's schema refuses.
    """
    release = find(platform) if isinstance(platform, str) else platform
    bodies = [body for body in bodies if isinstance(body.get("kind"), str)]
    for body in bodies:
        schema.check(body)
    found = _Findings()
    runtimes = _runtimes(bodies, release, found)
    groups: list[Group] = []
    for body in bodies:
        if body.get("kind") == "InferenceService":
            made = _service(body, runtimes, release, generation, found)
            if made is not None:
                groups.append(made)
        elif body.get("kind") == "LeaderWorkerSet" and lws:
            groups.append(lws_group(body))
    return Preview(
        release=release,
        groups=tuple(groups),
        refusals=tuple(found.refusals),
        stalls=tuple(found.stalls),
        warnings=tuple(found.warnings),
    )


class _Findings:
    """What has been found so far, in the order of the input."""

    def __init__(self) -> None:
        self.refusals: list[Finding] = []
        self.stalls: list[Finding] = []
        self.warnings: list[Finding] = []


def finding(body: Mapping[str, Any], text: str, path: Path) -> Finding:
    """A finding about a field of `body`."""
    metadata = body["metadata"]
    return Finding(text, path, body["kind"], metadata["name"], metadata.get("namespace") or "")


def _runtimes(bodies: Sequence[Mapping[str, Any]], release: Release, found: _Findings) -> list[Body]:
    """The accepted runtimes, pruned; a later one of the same name takes the earlier one's place."""
    accepted: list[Body] = []
    originals: list[Mapping[str, Any]] = []
    for body in bodies:
        if body.get("kind") not in admission.RUNTIME_WEBHOOKS:
            continue
        pruned: Body = {**body, "metadata": dict(body["metadata"]), "spec": runtime_spec(body, release)}
        there = [one for one in accepted if _beside(one, pruned)]
        refused = admission.refusals_of_runtime(pruned, release, there)
        if refused:
            text = admission.prefix(body["kind"]) + refused[0].message
            found.refusals.append(finding(body, text, refused[0].path))
            continue
        accepted = [one for one in accepted if not (_beside(one, pruned) and _name(one) == _name(pruned))]
        accepted.append(pruned)
        originals.append(body)
    for body in originals:
        found.warnings += [finding(body, text, path) for text, path in warnings_of_input(body, release)]
    return accepted


def _beside(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one["kind"] != other["kind"]:
        return False
    wide = one["kind"] == "ClusterServingRuntime"
    return wide or bool(one["metadata"].get("namespace") == other["metadata"].get("namespace"))


def _name(body: Mapping[str, Any]) -> str:
    return str(body["metadata"]["name"])


def _service(
    body: Mapping[str, Any], runtimes: Sequence[Body], release: Release, generation: int, found: _Findings
) -> Group | None:
    service = defaulted(body, release)
    refused = admission.refusals_of_service(service, release)
    if refused:
        text = admission.prefix("InferenceService") + refused[0].message
        found.refusals.append(finding(body, text, refused[0].path))
        return None
    found.warnings += [finding(body, text, path) for text, path in warnings_of_input(body, release)]
    stopped, stalls = stalls_of_input(body, service, release)
    found.stalls += [finding(body, text, path) for text, path in stalls]
    if stopped:
        return None
    chosen = select(service, runtimes, release)
    if chosen.runtime is None:
        found.stalls.append(finding(body, _unselected(chosen), chosen.path))
        return None
    source = Source(service, chosen.runtime, release, generation)
    try:
        made = group(source)
    except NothingMade as stop:
        about = chosen.runtime if stop.of_runtime else body
        found.stalls.append(finding(about, stop.text, stop.path))
        return None
    found.stalls += [finding(body, text, path) for text, path in stalls_of_group(source, made)]
    found.warnings += [finding(body, text, path) for text, path in warnings_of_group(source, made)]
    return made


def _unselected(chosen: Selection) -> str:
    if chosen.missing:
        return f"{chosen.problem} Add it with --runtime FILE; without it KServe waits and makes nothing."
    return f"{chosen.problem} KServe makes nothing and sets modelStatus FailedToLoad."

"""One judgement: validate and preview block the same, and what is made shows it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kserve_objects import recorded
from unit.authoring.rules.examples import Example, documents, examples
from unit.authoring.rules.public_cases import PUBLIC, public_documents
from vllm_multinode.authoring.preview import Preview, preview_documents
from vllm_multinode.authoring.rules import validate
from vllm_multinode.k8s.access import at
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.releases import RELEASES, Release, find

EVERY = [release for releases in RELEASES.values() for release in releases]
# A runtime that is rejected leaves the one that was there before.
RUNTIMES = {"runtime-priority", "worker-spec-removed"}
# What objects do not show: which node could hold a pod, the engine's arguments, the model, kubectl's strict
# validation, what becomes of objects once they are made, what Kueue waits for, and pods that
# start without ever forming a group.
ELSEWHERE = {
    "claim-one-pod",
    "data-parallel",
    "executor-ignored",
    "gpu-types-mixed",
    "head-counts-stages",
    "head-service-name",
    "many-replicas",
    "queue-group-size",
    "ray-certificate-name",
    "ray-certificate-variable",
    "runtime-drops-field",
    "size-arguments",
    "unknown-field",
    "worker-spec-ignored",
    "workers-recreated",
}
SCHEMA = {"api-version", "doubled-item", "metadata-not-text", "missing-field", "object-name", "wrong-value"}
LEADERS = {"lws-gpus", "lws-leader-missing", "lws-nodes", "lws-sizes-missing"}


def inputs() -> Iterator[Any]:
    """Every example, recorded case and public case, as documents."""
    for example in examples():
        yield pytest.param(documents(example.bad), id=f"bad-{example.rule}")
        yield pytest.param(documents(example.good), id=f"good-{example.rule}")
    cases = {json.dumps(one["input"], sort_keys=True): one for one in recorded()}
    for case in cases.values():
        yield pytest.param(documents(case["input"]), id=f"recorded-{case['platform']}-{case['case']}")
    for name in PUBLIC:
        yield pytest.param(public_documents(name), id=f"public-{name}")


def unexplained(given: list[Document], release: Release) -> list[str]:
    """Differences between what is judged and what is made of it."""
    seen = preview_documents(given, release)
    blocking = [one for one in seen.findings if one.blocks]
    different = []
    for document in given:
        if (
            document.kind != "InferenceService"
            or at(document.body, "spec", "predictor", "workerSpec") is None
        ):
            continue
        own = {one.rule for one in blocking if one.document is document or one.kind != document.kind}
        own |= {one.rule for one in seen.findings if one.rule == "runtime-unknown"}
        whole = _is_whole(seen, document)
        if whole and own - ELSEWHERE - SCHEMA - LEADERS - RUNTIMES:
            different.append(f"{document.name} is made in whole, and blocked by {sorted(own)}")
        elif not whole and not own:
            different.append(f"{document.name} is not made in whole, and nothing blocks it")
    return different


def _is_whole(seen: Preview, document: Document) -> bool:
    """Whether head and workers are made, each with a pod, and the Services that they find each other by."""
    for group in seen.groups:
        if (group.kind, group.name) != (document.kind, document.name) or group.refused:
            continue
        kinds = [body["kind"] for body in group.objects]
        pods = sum(1 for role in group.roles if role.replicas)
        return (
            kinds.count("Deployment") == len(group.roles) == 2
            and kinds.count("Pod") == pods
            and group.roles[0].replicas > 0
            and kinds.count("Service") >= 2
        )
    return False


@pytest.mark.parametrize("given", list(inputs()))
def test_nothing_is_unexplained(given: list[Document]) -> None:
    different = {release.name: found for release in EVERY if (found := unexplained(given, release))}
    assert different == {}


@pytest.mark.parametrize("example", [pytest.param(one, id=one.rule) for one in examples()])
def test_validate_and_preview_block_the_same(example: Example) -> None:
    release = find(example.version)
    blocks = [(one.rule, one.steps) for one in validate(documents(example.bad), [release]) if one.blocks]
    seen = preview_documents(documents(example.bad), release)
    assert [(one.rule, one.steps) for one in seen.findings if one.blocks] == blocks
    assert seen.serves is (not blocks)

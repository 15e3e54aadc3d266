"""Every rule's example against the running KServe: refused in its own words, or accepted and then stuck."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from controlplane.plane.kubectl import Kubectl, KubectlError
from controlplane.plane.running import Plane
from unit.authoring.rules.examples import Example, base, documents, examples
from vllm_multinode.authoring.rules import RULES, validate
from vllm_multinode.k8s.access import at, listed
from vllm_multinode.platforms.releases import find

TIMEOUT: Final = 60.0
OBJECTS: Final = "deployments,services"
SEEN_ELSEWHERE: Final = {"recorded", "source", "engine"}
"""Recorded cases, versions that are not built here, and what the engine alone shows."""
_BY_ID: Final = {rule.id: rule for rule in RULES}


def _cases(*live: str, but: bool = False) -> list[object]:
    chosen = (one for one in examples() if (one.live in live) is not but)
    return [pytest.param(one, id=one.rule) for one in chosen]


def _fitting(example: Example, plane: Plane) -> str:
    """The plane's version as the rules write it; skips where the rule does not hold for it."""
    version = plane.kserve.removeprefix("v")
    if version not in example.versions:
        pytest.skip(f"{example.rule} does not hold for KServe {version}")
    return version


def _bare(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The objects without their namespace: each test has its own."""
    return [
        {**body, "metadata": {k: v for k, v in body["metadata"].items() if k != "namespace"}}
        for body in bodies
    ]


def _eventually(what: Callable[[], Any], why: str) -> Any:
    """The first true answer; the controllers work at their own pace."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {TIMEOUT:g} s: {why}")


def _made(kubectl: Kubectl, service: str) -> dict[str, dict[str, Any]]:
    """Deployments and Services of an InferenceService, by kind and name."""
    found = kubectl.list(OBJECTS, f"serving.kserve.io/inferenceservice={service}")
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in found}


def _whole(kubectl: Kubectl, service: str) -> dict[str, dict[str, Any]] | None:
    """All that a multi-node service has, once it is there."""
    made = _made(kubectl, service)
    wanted = {f"Deployment/{service}-predictor", f"Deployment/{service}-predictor-worker"}
    return made if wanted <= set(made) and len(made) >= 4 else None


@pytest.fixture
def settled(plane: Plane, namespace: str) -> Iterator[Callable[[], None]]:
    """Returns once a sound service, applied after all others, has its objects: the others had their turn."""
    name = f"{namespace}-sound"
    sound = plane.kubectl(name)

    def settle() -> None:
        plane.kubectl()("create", "namespace", name)
        sound("apply", "-f", "-", documents=[base()["runtime"], base()["service"]])
        _eventually(lambda: _whole(sound, "llm"), "the sound service has its objects")

    yield settle
    plane.kubectl()("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def test_every_rule_is_shown_somewhere() -> None:
    shown = {one.rule for one in examples() if one.live}
    assert shown == set(_BY_ID)
    assert {one.live for one in examples()} <= SEEN_ELSEWHERE | {"refused", "accepted"} | set(SHOWS)


def test_good_examples_are_accepted_and_made(plane: Plane, kubectl: Kubectl) -> None:
    version = plane.kserve.removeprefix("v")
    bodies = [base()["runtime"], base()["service"], base()["group"]]
    release = find(version)
    found = {one.rule for one in validate(documents(bodies), [release]) if one.blocks}
    assert found == ({"workers-recreated"} if release.recreates_workers else set())
    kubectl("apply", "-f", "-", documents=bodies)
    _eventually(lambda: _whole(kubectl, "llm"), "Deployments and Services of the good example")


def _twins() -> list[object]:
    """Examples whose good twin is more than the sound base, which has a test of its own."""
    sound = ([base()["runtime"], base()["service"]], [base()["group"]])
    return [pytest.param(one, id=one.rule) for one in examples() if one.good not in sound]


@pytest.mark.parametrize("example", _twins())
def test_good_twin_is_accepted(example: Example, plane: Plane, kubectl: Kubectl) -> None:
    _fitting(example, plane)
    kubectl("apply", "--dry-run=server", "-f", "-", documents=_bare(example.good))


@pytest.mark.parametrize("example", _cases("refused"))
def test_refused(example: Example, plane: Plane, kubectl: Kubectl) -> None:
    version = _fitting(example, plane)
    (said, *_) = [
        one.message for one in validate(documents(example.bad), [find(version)]) if one.rule == example.rule
    ]
    words = said.removeprefix("KServe rejects it: ").rstrip(".")
    *first, last = _order(example)
    for body in first:
        kubectl("apply", "-f", "-", documents=_bare([body]))

    def refusal() -> str:
        try:
            kubectl("apply", "--dry-run=server", "-f", "-", documents=_bare([last]))
        except KubectlError as error:
            return str(error)
        return ""

    # A webhook that compares with other objects may not have heard of them yet.
    told = _eventually(refusal, f"a refusal: {words}")
    if said != words + ".":
        assert words in told


def _order(example: Example) -> list[dict[str, Any]]:
    """The example's objects, the one that is rejected last and what comes behind it left out."""
    found = [
        one for one in validate(documents(example.bad), [find(example.version)]) if one.rule == example.rule
    ]
    document = found[0].document
    assert document is not None
    return example.bad[: document.index + 1]


@pytest.mark.parametrize("example", _cases("accepted"))
def test_accepted(example: Example, plane: Plane, kubectl: Kubectl) -> None:
    _fitting(example, plane)
    kubectl("apply", "-f", "-", documents=_bare(example.bad))


def _deployment(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found: dict[str, Any] = _eventually(
        lambda: _made(kubectl, "llm").get(f"Deployment/{name}"), f"Deployment {name}"
    )
    return found


def _gpus(deployment: dict[str, Any]) -> dict[str, str]:
    limits = at(deployment, "spec", "template", "spec", "containers", 0, "resources", "limits") or {}
    return {name: count for name, count in limits.items() if name.endswith("/gpu")}


def _nothing_made(kubectl: Kubectl, name: str) -> None:
    assert _made(kubectl, name) == {}


def _no_workers(kubectl: Kubectl, name: str) -> None:
    assert f"Deployment/{name}-predictor-worker" not in _made(kubectl, name)


def _no_deployment(kubectl: Kubectl, name: str) -> None:
    """The API server rejects one of the two Deployments."""
    both = {f"Deployment/{name}-predictor", f"Deployment/{name}-predictor-worker"}
    assert both - _made(kubectl, name).keys()


def _no_service(kubectl: Kubectl, name: str) -> None:
    assert f"Service/{name}-predictor" not in _made(kubectl, name)


def _no_head(kubectl: Kubectl, name: str) -> None:
    assert _deployment(kubectl, f"{name}-predictor")["spec"]["replicas"] == 0
    assert _deployment(kubectl, f"{name}-predictor-worker")["spec"]["replicas"] == 1


def _two_heads(kubectl: Kubectl, name: str) -> None:
    assert _deployment(kubectl, f"{name}-predictor")["spec"]["replicas"] == 2
    assert _deployment(kubectl, f"{name}-predictor-worker")["spec"]["replicas"] == 1


def _one_gpu_each(kubectl: Kubectl, name: str) -> None:
    worker = _deployment(kubectl, f"{name}-predictor-worker")
    assert worker["spec"]["replicas"] == 3
    assert _gpus(worker) == {"nvidia.com/gpu": "1"}


def _two_types(kubectl: Kubectl, name: str) -> None:
    assert len(_gpus(_deployment(kubectl, f"{name}-predictor"))) == 2


def _not_allocated(kubectl: Kubectl, name: str) -> None:
    def reasons() -> bool:
        conditions = listed(kubectl.get("inferenceservice", name), "status", "conditions")
        return "InvalidGPUAllocation" in {one.get("reason") for one in conditions}

    _eventually(reasons, "the condition InvalidGPUAllocation")
    _nothing_made(kubectl, name)


def _head_service(kubectl: Kubectl, name: str) -> None:
    worker = _eventually(
        lambda: _made(kubectl, name).get(f"Deployment/{name}-predictor-worker"), "the workers' Deployment"
    )
    variables = worker["spec"]["template"]["spec"]["containers"][0]["env"]
    (told,) = (one["value"] for one in variables if one["name"] == "HEAD_SVC")
    assert f"Service/{told}" not in _made(kubectl, name)


SHOWS: Final[dict[str, Callable[[Kubectl, str], None]]] = {
    "nothing-made": _nothing_made,
    "no-workers": _no_workers,
    "no-deployment": _no_deployment,
    "no-service": _no_service,
    "no-head": _no_head,
    "two-heads": _two_heads,
    "one-gpu-each": _one_gpu_each,
    "two-types": _two_types,
    "not-allocated": _not_allocated,
    "head-service": _head_service,
}


@pytest.mark.parametrize("example", _cases(*SEEN_ELSEWHERE, "refused", "accepted", but=True))
def test_accepted_and_then_stuck(
    example: Example, plane: Plane, kubectl: Kubectl, settled: Callable[[], None]
) -> None:
    _fitting(example, plane)
    kubectl("apply", "-f", "-", documents=_bare(example.bad))
    settled()
    (name,) = (one["metadata"]["name"] for one in example.bad if one["kind"] == "InferenceService")
    SHOWS[example.live](kubectl, name)

"""Every example, rendered for the KServe that runs: admitted as it stands, and made as it was meant."""

from pathlib import Path
from typing import Any

import pytest

from controlplane.plane.kubectl import Kubectl
from controlplane.plane.running import Plane
from engine.services import eventually
from vllm_multinode.authoring.render import Rendered, Target, render
from vllm_multinode.authoring.render.container import launcher_command
from vllm_multinode.authoring.spec import DeploymentSpec, load
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.labels import COMPONENT

_EXAMPLES = sorted((Path(__file__).parents[1] / "data/authoring").glob("*/spec.yaml"))
_TARGETS: tuple[Target, ...] = ("kserve", "lws")
_REVISION = "leaderworkerset.sigs.k8s.io/template-revision-hash"

example = pytest.mark.parametrize("path", _EXAMPLES, ids=lambda path: path.parent.name)


def _here(path: Path) -> DeploymentSpec:
    """The example, in whatever namespace the test has."""
    return load(path).model_copy(update={"namespace": None})


def _priorities(spec: DeploymentSpec) -> list[dict[str, Any]]:
    """The priority classes that the pods name: without them no pod is admitted."""
    names = {one.priority_class_name for one in spec.placements.values()} - {None}
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1}
    return [{**kind, "metadata": {"name": name}} for name in sorted(filter(None, names))]


def _rendered(spec: DeploymentSpec, plane: Plane, target: Target) -> Rendered:
    """The example for this KServe; skipped where render says that this version or target cannot do it."""
    try:
        return render(spec, plane.kserve, target)
    except MultinodeError as refusal:
        pytest.skip(str(refusal))


@pytest.mark.parametrize("target", _TARGETS)
@example
def test_admitted_strictly(
    path: Path, target: Target, plane: Plane, kubectl: Kubectl, tmp_path: Path
) -> None:
    made = _rendered(_here(path), plane, target)
    for name in made.files:
        (tmp_path / name).write_text(made.text(name), encoding="utf-8")
    kubectl("apply", "--dry-run=server", "--server-side", "--validate=strict", "-k", tmp_path)


@example
def test_kserve_makes_what_is_meant(path: Path, plane: Plane, kubectl: Kubectl) -> None:
    spec = _here(path)
    kubectl.apply(*_priorities(spec), *_rendered(spec, plane, "kserve").documents)
    for name in spec.service_names:
        head, workers = (_deployment(kubectl, f"{name}-{end}") for end in ("predictor", "predictor-worker"))
        assert (head["spec"]["replicas"], workers["spec"]["replicas"]) == (1, spec.nodes - 1)
        for made in (head, workers):
            _assert_as_meant(spec, made["spec"]["template"]["spec"], spec.accelerator_resource)
        labels = {one["spec"]["template"]["metadata"]["labels"]["isvc.generation"] for one in (head, workers)}
        assert labels == {"1"}
    pods = eventually(lambda: _all(kubectl, spec.nodes * spec.replicas))
    if spec.replicas > 1:
        heads = kubectl.list("pods", f"{COMPONENT}=head")
        assert _behind_router(spec, kubectl) == _names(heads) < _names(pods)


@example
def test_leader_worker_set_makes_what_is_meant(path: Path, plane: Plane, kubectl: Kubectl) -> None:
    spec = _here(path)
    kubectl.apply(*_priorities(spec), *_rendered(spec, plane, "lws").documents)
    pods = eventually(lambda: _all(kubectl, spec.nodes * spec.replicas))
    sets = kubectl.list("statefulsets")
    assert len(sets) == 1 + spec.replicas
    reached = _behind_router(spec, kubectl) if spec.replicas > 1 else _selected(kubectl, f"{spec.name}-api")
    assert reached == {f"{spec.name}-{number}" for number in range(spec.replicas)}
    for pod in pods:
        _assert_as_meant(spec, pod["spec"], spec.accelerator_resource)
        given = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
        assert given["LWS_GROUP_SIZE"] == str(spec.nodes)
        assert given["LWS_LEADER_ADDRESS"].startswith(f"{spec.name}-")
        # What MULTINODE_GENERATION is read from.
        assert pod["metadata"]["labels"][_REVISION]


def _assert_as_meant(spec: DeploymentSpec, pod: dict[str, Any], resource: str) -> None:
    """Accelerators under both, and what must reach head and workers alike."""
    command = launcher_command(spec.install)
    (container,) = (one for one in pod["containers"] if one.get("command") == command)
    if spec.accelerator.type != "none" or resource in container["resources"].get("limits", {}):
        counted = {container["resources"][kind][resource] for kind in ("requests", "limits")}
        assert counted == {str(spec.per_node)}
    assert pod["enableServiceLinks"] is False
    assert pod["terminationGracePeriodSeconds"] == 20 + spec.drain
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert {probe["httpGet"]["port"] for key, probe in container.items() if key.endswith("Probe")} == {8081}
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": spec.shared_memory}
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert {"shm", "tmp", "home"} <= mounted <= volumes.keys() | {"kserve-pvc-source"}


def _deployment(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found: dict[str, Any] = eventually(
        lambda: next((one for one in kubectl.list("deployments") if one["metadata"]["name"] == name), None),
        why=lambda: f"no Deployment {name}",
    )
    return found


def _all(kubectl: Kubectl, count: int) -> list[dict[str, Any]]:
    """The groups' pods, once there are so many: those of Jobs and routers are none."""
    pods = kubectl.list("pods", f"{COMPONENT} in (head, worker)")
    return pods if len(pods) == count else []


def _behind_router(spec: DeploymentSpec, kubectl: Kubectl) -> set[str]:
    """The heads that the router reaches, each by a Service of its own; clients reach the router."""
    routers = _names(kubectl.list("pods", f"{COMPONENT}=router"))
    assert eventually(lambda: _selected(kubectl, f"{spec.name}-api")) == routers
    heads = [_selected(kubectl, f"{spec.name}-{number}-api") for number in range(spec.replicas)]
    assert [len(one) for one in heads] == [1] * spec.replicas
    return set().union(*heads)


def _selected(kubectl: Kubectl, service: str) -> set[str]:
    return _names(kubectl.list("pods", _selector(kubectl.get("service", service))))


def _names(pods: list[dict[str, Any]]) -> set[str]:
    return {one["metadata"]["name"] for one in pods}


def _selector(service: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in service["spec"]["selector"].items())

"""manifests/ and overlays/ against a real API server and a real KServe."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controlplane.plane.kubectl import Kubectl, KubectlError
from controlplane.plane.running import Plane
from engine.services import eventually
from manifests.folders import COMPONENTS, MANIFESTS, Object, bases, build, leaves, name, of_kind
from manifests.leaf import leaf
from manifests.test_components import PAIRS, together

# OpenShift, the Gateway API, Prometheus' operator: none of the modules here has their CRDs.
ABSENT = (
    "gateway.networking.k8s.io",
    "monitoring.coreos.com",
    "route.openshift.io",
)
SERVING = [folder for folder in bases() if of_kind(build(folder), "InferenceService")]
STORAGE = [folder for folder in bases() if "storage" in folder.parts]
NFS = MANIFESTS / "operators/70-nfs"
ADDED = sorted(folder.name for folder in COMPONENTS.iterdir() if folder.name != "kserve-fields")


def served(folder: Path) -> list[Object]:
    """The folder's objects without the kinds that are absent."""
    return [one for one in build(folder) if not one["apiVersion"].startswith(ABSENT)]


def skip_where_the_version_cannot(folder: Path, plane: Plane) -> None:
    # KServe before 0.18 makes a node of each of its GPUs, which it does not count.
    if plane.kserve < "v0.18" and folder.name == "granite-4.0-h-small":
        pytest.skip(f"KServe {plane.kserve} does not count GPUs of this type")


def strictly(kubectl: Kubectl, objects: list[Object]) -> str:
    """A server-side dry run: every field known, every webhook asked, nothing kept."""
    return kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", documents=objects)


@pytest.mark.parametrize("folder", [*SERVING, *STORAGE, NFS], ids=name)
def test_admitted_strictly(folder: Path, plane: Plane, kubectl: Kubectl) -> None:
    skip_where_the_version_cannot(folder, plane)
    namespaced = [one for one in served(folder) if "namespace" not in one["metadata"]]
    assert strictly(kubectl, namespaced)


@pytest.mark.parametrize("component", ADDED)
def test_every_component_is_admitted_strictly(
    component: str, plane: Plane, kubectl: Kubectl, tmp_path: Path
) -> None:
    if component.startswith("kserve-") and component.removeprefix("kserve-") != plane.kserve.removeprefix(
        "v"
    ):
        pytest.skip(f"for KServe {component.removeprefix('kserve-')} alone")
    assert strictly(kubectl, served(leaf(tmp_path / "leaf", component)))


def test_any_two_components_are_admitted_strictly(
    plane: Plane, kubectl: Kubectl, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--all-versions"):
        pytest.skip("some three hundred pairs take minutes; with --all-versions")
    # The components of single releases are for these alone.
    pairs = [pair for pair in PAIRS if not any(one.startswith("kserve-") for one in pair)]
    wrong = {}
    for pair, objects in together(tmp_path, pairs).items():
        namespaced = [one for one in objects if not one["apiVersion"].startswith(ABSENT)]
        try:
            strictly(kubectl, namespaced)
        except KubectlError as error:
            wrong[pair] = str(error)
    assert wrong == {}


def promised(folder: Path) -> tuple[int, int, int]:
    """Replicas, nodes of each, and accelerators of a node, as the README has them."""
    text = (folder / "README.md").read_text()
    found = re.search(r"- Size: (?:(\d+) groups of )?(\d+) nodes, TP (\d+), PP (\d+)", text)
    assert found
    replicas, nodes, tensor, pipeline = (int(one or 1) for one in found.groups())
    return replicas, nodes, tensor * pipeline // nodes


@pytest.mark.parametrize("folder", leaves(), ids=name)
def test_applied_it_makes_the_promised_pods(folder: Path, plane: Plane, kubectl: Kubectl) -> None:
    skip_where_the_version_cannot(folder, plane)
    replicas, nodes, gpus = promised(folder)
    assert strictly(kubectl, served(folder))
    kubectl.apply(*served(folder))
    group = "serving.kserve.io/inferenceservice"
    pods: list[Any] = eventually(lambda: _all(kubectl.list("pods", group), replicas * nodes))
    for pod in pods:
        spec, main = pod["spec"], pod["spec"]["containers"][0]
        assert spec["terminationGracePeriodSeconds"] == 40
        assert spec["enableServiceLinks"] is False
        assert main["startupProbe"]["httpGet"] == {"path": "/startup", "port": 8081, "scheme": "HTTP"}
        counted = {
            key: int(value) for key, value in main["resources"]["limits"].items() if key in ACCELERATORS
        }
        assert counted == ({} if folder.name == "tiny" else {next(iter(counted)): gpus})
    heads = kubectl.list("pods", f"{group},app.kubernetes.io/component=head")
    assert len(heads) == replicas


ACCELERATORS = ("nvidia.com/gpu", "amd.com/gpu", "habana.ai/gaudi", "gpu.intel.com/xe", "gpu.intel.com/i915")


def _all(found: list[Any], wanted: int) -> list[Any] | None:
    return found if len(found) >= wanted else None


def _named(found: list[Any]) -> set[str]:
    return {one["metadata"]["name"] for one in found}


def _selected(kubectl: Kubectl, selector: dict[str, str]) -> set[str]:
    text = ",".join(f"{key}={value}" for key, value in selector.items())
    return _named(kubectl.list("pods", text))


def _selects_all(kubectl: Kubectl, selector: dict[str, str], service: str) -> bool:
    """Whether it selects exactly the pods of a service, which are two or more."""
    pods = _named(kubectl.list("pods", service))
    return len(pods) > 1 and _selected(kubectl, selector) == pods


def test_services_policies_and_the_router_select_the_pods_that_kserve_makes(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    folder = leaf(tmp_path / "leaf", "nvidia", "network-policy", "pdb", "replicas", namePrefix="mine-")
    kubectl.apply(*served(folder))
    service = "serving.kserve.io/inferenceservice=mine-vllm"
    everyone = eventually(lambda: _all(kubectl.list("pods", service), 2))
    (head,) = [one for one in _named(everyone) if "-worker-" not in one]
    assert _selected(kubectl, kubectl.get("service", "mine-vllm-api")["spec"]["selector"]) == {head}
    policy = kubectl.get("networkpolicy", "mine-vllm")["spec"]["podSelector"]["matchLabels"]
    budget = kubectl.get("poddisruptionbudget", "mine-vllm")["spec"]["selector"]["matchLabels"]
    for selector in (policy, budget):
        # KServe 0.20.0 deletes and creates the workers all the time (kserve#6113).
        eventually(partial(_selects_all, kubectl, selector, service))
    # What the router's arguments expand to, out of its own label.
    router = kubectl.get("deployment", "mine-vllm-router")["spec"]["template"]["metadata"]["labels"]
    part_of = router["app.kubernetes.io/part-of"]
    asked = {"app.kubernetes.io/part-of": part_of, "app.kubernetes.io/component": "head"}
    assert _selected(kubectl, asked) == {head}


def test_rdma_and_shared_memory_reach_head_and_workers(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl.apply(*served(leaf(tmp_path / "leaf", "nvidia", "rdma", "shared-memory", "port-range")))
    pods = eventually(lambda: _all(kubectl.list("pods", "serving.kserve.io/inferenceservice=vllm"), 2))
    for pod in pods:
        main, spec = pod["spec"]["containers"][0], pod["spec"]
        assert main["resources"]["limits"]["nvidia.com/gpu"] == "8"
        assert main["resources"]["limits"]["rdma/rdma_shared_device_ib"] == "1"
        # Merged over the runtime's: nothing but this one is added again.
        assert main["securityContext"]["capabilities"] == {"add": ["IPC_LOCK"], "drop": ["ALL"]}
        assert main["securityContext"]["readOnlyRootFilesystem"]
        assert spec["serviceAccountName"] == "vllm-rdma"
        assert [one["name"] for one in spec["securityContext"]["sysctls"]] == ["net.ipv4.ip_local_port_range"]
        volumes = {one["name"]: one for one in spec["volumes"]}
        assert volumes["shm"]["emptyDir"]["sizeLimit"] == "64Gi"
        assert volumes["token"]["secret"]["secretName"] == "vllm-token"
        assert {one["name"] for one in main["volumeMounts"]} >= {"shm", "tmp", "home", "token"}
        assert pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] == "rdma"


def test_a_queue_reaches_deployments_and_pods(kubectl: Kubectl, tmp_path: Path) -> None:
    """Where Kueue's webhooks look: the queue on each Deployment, the group on each pod."""
    kubectl.apply(*served(leaf(tmp_path / "leaf", "nvidia", "queue", namePrefix="mine-")))
    service = "serving.kserve.io/inferenceservice=mine-vllm"
    pods = eventually(lambda: _all(kubectl.list("pods", service), 2))
    for pod in pods:
        labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
        assert labels["kueue.x-k8s.io/queue-name"] == "default"
        assert labels["kueue.x-k8s.io/pod-group-name"] == "mine-vllm"
        assert annotations["kueue.x-k8s.io/pod-group-total-count"] == str(len(pods))
        assert annotations["kueue.x-k8s.io/pod-group-serving"] == "true"
    both = {"mine-vllm-predictor", "mine-vllm-predictor-worker"}
    # KServe 0.20.0 deletes and creates the workers' Deployment all the time (kserve#6113).
    eventually(lambda: _named(kubectl.list("deployments", "kueue.x-k8s.io/queue-name=default")) >= both)


def test_a_second_apply_changes_nothing(kubectl: Kubectl) -> None:
    objects = served(MANIFESTS / "service/ray")
    kubectl.apply(*objects)
    before = kubectl.get("inferenceservice", "vllm")["metadata"]["generation"]
    kubectl.apply(*objects)
    assert kubectl.get("inferenceservice", "vllm")["metadata"]["generation"] == before


def test_a_resource_that_is_not_announced_is_refused(kubectl: Kubectl, tmp_path: Path) -> None:
    """Why the base names what components may ask for."""
    objects = served(leaf(tmp_path / "leaf", "nvidia", "rdma"))
    (service,) = of_kind(objects, "InferenceService")
    service = service | {
        "metadata": {**service["metadata"], "annotations": {**service["metadata"]["annotations"]}}
    }
    del service["metadata"]["annotations"]["serving.kserve.io/gpu-resource-types"]
    with pytest.raises(KubectlError, match="Unknown GPU resource type"):
        strictly(kubectl, [service])

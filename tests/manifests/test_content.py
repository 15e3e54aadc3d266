"""What the built objects say: images, variables, names of other objects, times."""

import re
from pathlib import Path
from typing import Any

import pytest

from manifests.folders import (
    MANIFESTS,
    ROOT,
    Object,
    bases,
    build,
    components,
    containers,
    load,
    name,
    of_kind,
    walk,
)
from manifests.leaf import leaf
from vllm_multinode.authoring.render.images import RELEASED
from vllm_multinode.authoring.render.names import TEARDOWN_SECONDS
from vllm_multinode.authoring.spec.accelerators import AcceleratorType
from vllm_multinode.contract import env, ports
from vllm_multinode.platforms.kserve import auth_proxy

# Variables of others, and who reads them.
OTHERS = {
    "HF_TOKEN": "multinode fetch",
    "HOME": "every process",
    "NCCL_DEBUG": "NCCL",
    "NCCL_DEBUG_SUBSYS": "NCCL",
    "NCCL_IB_HCA": "NCCL",
    "NCCL_SOCKET_IFNAME": "NCCL",
    "VLLM_CPU_KVCACHE_SPACE": "vLLM's CPU engine",
    "PART_OF": "the router's own arguments",
    "SERVICE_NAME": "nfs-provisioner",
}
KNOWN = env.OURS | env.DOWNWARD | env.ENGINE | set(OTHERS)
PLACEHOLDER = re.compile(
    r"\b(TODO|FIXME|TBD|XXX+|CHANGE[-_ ]?ME|REPLACE[-_ ]?ME|patch-me|placeholder)\b|\byour[-_]"
    r"|example\.(com|org)|<[a-z_-]+>",
    re.IGNORECASE,
)
SERVING = [folder for folder in bases() if not {"operators", "gitops"} & set(folder.parts)]
YAML_FILES = sorted(path for top in ("manifests", "overlays") for path in (ROOT / top).rglob("*.yaml"))


def ours(folder: Path) -> bool:
    """storage/ has containers of another command."""
    return "storage" not in folder.parts


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_placeholder_is_left(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in lines if PLACEHOLDER.search(line)]


@pytest.mark.parametrize("folder", bases(), ids=name)
def test_every_image_has_a_version(folder: Path) -> None:
    for one in build(folder):
        for container in containers(one):
            image = container.get("image", "none:0")
            tag = image.rpartition("/")[2].partition(":")[2]
            assert re.search(r"\d", tag), f"{image} of {one['metadata']['name']}"


@pytest.mark.parametrize("folder", sorted((ROOT / "overlays").glob("*/")), ids=name)
def test_jobs_of_an_overlay_run_in_the_image_of_its_service(folder: Path) -> None:
    built = build(folder)
    runtimes, jobs = of_kind(built, "ServingRuntime"), of_kind(built, "Job")
    assert jobs
    (image,) = {one["image"] for runtime in runtimes for one in containers(runtime)}
    assert {one["image"] for job in jobs for one in containers(job)} == {image}


@pytest.mark.parametrize(
    ("component", "accelerator"),
    [("amd", "amd"), ("intel", "intel"), ("gaudi", "gaudi"), ("cpu", "none"), ("nvidia", "nvidia")],
)
def test_a_component_takes_the_released_image_of_its_accelerator(
    tmp_path: Path, component: str, accelerator: AcceleratorType
) -> None:
    (runtime,) = of_kind(build(leaf(tmp_path / "leaf", component)), "ServingRuntime")
    assert {one["image"] for one in containers(runtime)} == {RELEASED[accelerator]}


@pytest.mark.parametrize("folder", [folder for folder in SERVING if ours(folder)], ids=name)
def test_every_variable_is_read_by_someone(folder: Path) -> None:
    for one in build(folder):
        for container in containers(one):
            assert {variable["name"] for variable in container.get("env", [])} <= KNOWN


@pytest.mark.parametrize("folder", components(), ids=name)
def test_every_variable_of_a_component_is_read_by_someone(folder: Path) -> None:
    for path in folder.glob("*.yaml"):
        for one in load(path):
            for steps, value in walk(one):
                if steps and steps[-1] == "env" and isinstance(value, list):
                    assert {variable["name"] for variable in value} <= KNOWN


def references(one: Object) -> list[tuple[str, str]]:
    """What an object names: (kind, name)."""
    found: list[tuple[str, str]] = []
    for path, value in walk(one):
        last, before = (path[-1], path[-2] if len(path) > 1 else "") if path else ("", "")
        if one["kind"] == "InferenceService" and last == "runtime":
            found.append(("ServingRuntime", value))
        if last == "serving.kserve.io/inferenceservice":
            found.append(("InferenceService", value))
        if last == "serviceAccountName":
            found.append(("ServiceAccount", value))
        if last == "priorityClassName":
            found.append(("PriorityClass", value))
        if before == "to" and last == "name" and one["kind"] == "Route":
            found.append(("Service", value))
        if last == "backendRefs":
            found += [("Service", reference["name"]) for reference in value]
        if last == "parentRefs":
            found += [("Gateway", reference["name"]) for reference in value]
        if last == "opendatahub.io/connections":
            found.append(("Secret", value))
    return found


def from_elsewhere(folder: Path, kind: str, named: str) -> bool:
    """What a user makes, or another step of the same README."""
    cluster_wide = folder.name == "base" and kind == "ServingRuntime" and named == "vllm-multinode-ray"
    return cluster_wide or (kind == "Secret" and named.endswith("vllm-tls"))


@pytest.mark.parametrize("folder", SERVING, ids=name)
def test_every_reference_resolves(folder: Path) -> None:
    objects = build(folder)
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for one in objects:
        for kind, named in references(one):
            found = (kind, named) in there or from_elsewhere(folder, kind, named)
            assert found, f"{one['kind']} names {kind} {named}"


def pods_of(service: Object) -> list[tuple[str, Object]]:
    predictor = service["spec"]["predictor"]
    return [("head", predictor), ("worker", predictor["workerSpec"])]


def seconds_before_kill(runtime: Object, role: str, pod: Object) -> tuple[int, int]:
    """preStop and drain of one role's container, the service laid over the runtime."""
    spec = runtime["spec"] if role == "head" else runtime["spec"]["workerSpec"]
    container = spec["containers"][0]
    over = pod.get("model") or pod["containers"][0]
    pre_stop = int((over.get("lifecycle") or container["lifecycle"])["preStop"]["exec"]["command"][1])
    given = {one["name"]: one.get("value") for one in [*container["env"], *over.get("env", [])]}
    return pre_stop, int(given.get(env.DRAIN_TIMEOUT) or 20)


@pytest.mark.parametrize("folder", SERVING, ids=name)
def test_the_grace_period_holds_pre_stop_drain_and_teardown(folder: Path) -> None:
    objects = build(folder)
    runtimes = {one["metadata"]["name"]: one for one in of_kind(objects, "ServingRuntime")}
    for service in of_kind(objects, "InferenceService"):
        fallback = load(MANIFESTS / "runtime/ray/servingruntime.yaml")[0]
        runtime = runtimes.get(service["spec"]["predictor"]["model"]["runtime"], fallback)
        for role, pod in pods_of(service):
            pre_stop, drain = seconds_before_kill(runtime, role, pod)
            assert pod["terminationGracePeriodSeconds"] >= pre_stop + drain + TEARDOWN_SECONDS


@pytest.mark.parametrize("folder", SERVING, ids=name)
def test_what_a_runtime_would_drop_stands_in_the_service_for_both_roles(folder: Path) -> None:
    wanted: dict[str, Any] = {"enableServiceLinks": False, "automountServiceAccountToken": False}
    for service in of_kind(build(folder), "InferenceService"):
        assert service["spec"]["predictor"]["deploymentStrategy"] == {"type": "Recreate"}
        for _, pod in pods_of(service):
            assert {field: pod.get(field) for field in wanted} == wanted


def test_the_network_policy_names_the_ports_of_the_contract() -> None:
    policy = load(MANIFESTS / "components/network-policy/networkpolicy.yaml")[0]
    numbers = [port["port"] for rule in policy["spec"]["ingress"] for port in rule.get("ports", [])]
    assert numbers == [ports.API, auth_proxy.PORT, ports.SUPERVISOR]
    group = policy["spec"]["ingress"][0]
    assert "ports" not in group, "the group reaches every port: torch and gloo pick at random"


def test_the_network_policy_lets_a_groups_pods_reach_no_foreign_head() -> None:
    spec = load(MANIFESTS / "components/network-policy/networkpolicy.yaml")[0]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    to_group, *elsewhere = spec["egress"]
    assert to_group["to"][0]["podSelector"] == spec["podSelector"]
    reached = {port["port"] for rule in elsewhere for port in rule["ports"]}
    own = {ports.API, ports.SUPERVISOR, ports.MASTER, *range(ports.RAY, ports.RAY + 11)}
    assert not reached & own


def test_the_port_range_keeps_clear_of_the_launchers_ports() -> None:
    service = load(MANIFESTS / "components/port-range/inferenceservice.yaml")[0]
    (text,) = {
        value for path, value in walk(service) if path and path[-1] == "value" and isinstance(value, str)
    }
    first, last = map(int, text.split())
    fixed = {ports.API, ports.SUPERVISOR, ports.MASTER, *range(ports.RAY, ports.RAY + 11), *ports.RAY_WORKERS}
    assert not [port for port in fixed if first <= port <= last]
    assert not range(max(first, ports.RAY_WORKERS[0]), min(last, ports.RAY_WORKERS[1]) + 1)


def test_a_connection_names_the_service_s_own_model() -> None:
    """OpenShift AI puts the connection's URI in place of storageUri."""
    for folder in SERVING:
        objects = build(folder)
        uris = [
            one["stringData"]["URI"]
            for one in of_kind(objects, "Secret")
            if "URI" in one.get("stringData", {})
        ]
        if uris:
            (service,) = of_kind(objects, "InferenceService")
            assert uris == [service["spec"]["predictor"]["model"]["storageUri"]], name(folder)

"""Which nodes have accelerators, what they are, and how many nobody has asked for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vllm_multinode.cluster.client import Cluster, Resource
from vllm_multinode.contract import labels as names
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.k8s import quantity

NODES: Final = Resource("v1", "Node", "nodes", namespaced=False)
PODS: Final = Resource("v1", "Pod", "pods", namespaced=True)
RESOURCES: Final = (
    "nvidia.com/gpu",
    "amd.com/gpu",
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "habana.ai/gaudi",
)
"""What device plugins offer, one whole accelerator each."""

# Labels of NVIDIA's GPU feature discovery, AMD's node labeller and Intel's device plugin.
_PRODUCTS: Final = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "beta.amd.com/gpu.product-name")
_NVIDIA_MEMORY: Final = "nvidia.com/gpu.memory"  # MiB of one
_AMD_MEMORY: Final = ("amd.com/gpu.vram", "beta.amd.com/gpu.vram")  # "192G", GiB of one
_INTEL_MEMORY: Final = "gpu.intel.com/memory.max"  # bytes of all
_NVIDIA_SHARES: Final = "nvidia.com/gpu.replicas"
_SLICED: Final = "-MIG-"
_INSTANCE: Final = "node.kubernetes.io/instance-type"
_RUNNING: Final = "status.phase!=Succeeded,status.phase!=Failed"
_ENDED: Final = ("Succeeded", "Failed")
_BLOCKING: Final = ("NoSchedule", "NoExecute")
# A taint with such a word keeps other pods from the accelerators; pods that ask for them are meant.
_OF_ACCELERATORS: Final = ("nvidia", "amd.com", "intel.com", "habana", "gaudi", "gpu", "accelerator", "sku")
_NOT_OURS: Final = ("node.kubernetes.io/", "node-role.kubernetes.io/", "node.cloudprovider.kubernetes.io/")


@dataclass(frozen=True, slots=True)
class GpuNode:
    """One node with accelerators.

    Attributes:
        name: of the node.
        resource: what a pod requests.
        product: as a label names it; empty where none does.
        instance: instance type of a cloud; empty for none.
        memory_gib: of one accelerator; None where no label tells.
        count: accelerators that pods may be given.
        free: of them, what no pod has asked for; 0 where the node takes no pods.
        closed: why it takes no pods; empty where it does.
        taints: that pods have to tolerate, as the node has them.
    """

    name: str
    resource: str
    product: str
    instance: str
    memory_gib: float | None
    count: int
    free: int
    closed: str = ""
    taints: tuple[tuple[str, str, str], ...] = ()


def gpu_nodes(
    cluster: Cluster,
    tolerated: Iterable[str] = (),
    selector: Mapping[str, str] | None = None,
    freed: tuple[str, str] | None = None,
) -> tuple[list[GpuNode], tuple[str, ...]]:
    """Every node with accelerators, and sentences about what could not be learnt.

    Args:
        cluster: the cluster.
        tolerated: keys of taints that the pods shall tolerate, besides those about accelerators.
        selector: labels that a node must have; every node without it.
        freed: namespace and name of a service whose own pods count as gone.

    Raises:
        MultinodeError: what the API rejects; a login that may not list pods gets every node as if it were
            free, with a sentence that says so. DOES_NOT_FIT where no node has the labels.
    """
    everything, _ = cluster.list(NODES)
    bodies = [body for body in everything if has_labels(body, selector or {})]
    if selector and not bodies:
        wanted = ", ".join(f"{key}={value}" for key, value in selector.items())
        raise MultinodeError(
            ExitCode.DOES_NOT_FIT,
            f"None of the cluster's {len(everything)} nodes has the labels {wanted}.",
            hint="`kubectl get nodes --show-labels` lists their labels.",
        )
    notes: tuple[str, ...] = ()
    pods: list[dict[str, Any]] = []
    try:
        pods, _ = cluster.list(PODS, everywhere=True, fields=_RUNNING)
    except MultinodeError as error:
        if error.code is not ExitCode.FORBIDDEN:
            raise
        notes = ("This login may not list the pods of all namespaces: every accelerator counts as free.",)
    taken = requested(pod for pod in pods if freed is None or not _is_of(pod, freed))
    found = [node_of(body, taken, frozenset(tolerated)) for body in bodies]
    return [node for node in found if node is not None], notes


def _is_of(pod: Mapping[str, Any], service: tuple[str, str]) -> bool:
    metadata = pod.get("metadata") or {}
    part_of = (metadata.get("labels") or {}).get(names.PART_OF)
    return (metadata.get("namespace"), part_of) == service


def has_labels(body: Mapping[str, Any], selector: Mapping[str, str]) -> bool:
    """Whether a node has all these labels, as a pod's nodeSelector asks for them."""
    labels = (body.get("metadata") or {}).get("labels") or {}
    return all(str(labels.get(key)) == value for key, value in selector.items())


def requested(pods: Iterable[Mapping[str, Any]]) -> Mapping[tuple[str, str], int]:
    """(Node, resource) -> accelerators that its pods hold.

    A pod holds what its containers ask for together, or what one of its init containers asks for alone where
    that is more; an ended pod holds nothing.
    """
    taken: defaultdict[tuple[str, str], int] = defaultdict(int)
    for pod in pods:
        spec = pod.get("spec") or {}
        node = spec.get("nodeName")
        if not node or (pod.get("status") or {}).get("phase") in _ENDED:
            continue
        for resource in RESOURCES:
            taken[str(node), resource] += _held(spec, resource)
    return taken


def _held(spec: Mapping[str, Any], resource: str) -> int:
    together = sum(_asked(container, resource) for container in spec.get("containers") or [])
    most = 0
    for container in spec.get("initContainers") or []:
        asked = _asked(container, resource)
        if container.get("restartPolicy") == "Always":
            # A sidecar: it stays beside whatever comes after it.
            together += asked
        else:
            most = max(most, asked)
    return max(together, most)


def _asked(container: Mapping[str, Any], resource: str) -> int:
    resources = container.get("resources") or {}
    for kind in ("requests", "limits"):
        if resource in (resources.get(kind) or {}):
            return _whole(resources[kind][resource])
    return 0


def node_of(
    body: Mapping[str, Any], taken: Mapping[tuple[str, str], int], tolerated: frozenset[str] = frozenset()
) -> GpuNode | None:
    """A node as far as planning needs it; None where it has no accelerators."""
    name = str((body.get("metadata") or {}).get("name") or "")
    labels = {str(k): str(v) for k, v in ((body.get("metadata") or {}).get("labels") or {}).items()}
    status = body.get("status") or {}
    allocatable = status.get("allocatable") or {}
    resource = next((one for one in RESOURCES if _whole(allocatable.get(one, 0)) > 0), None)
    if resource is None:
        return None
    count = _whole(allocatable[resource])
    blocking = [t for t in (body.get("spec") or {}).get("taints") or [] if t.get("effect") in _BLOCKING]
    closed = _closed(body, labels, blocking, tolerated)
    capacity = max(_whole((status.get("capacity") or {}).get(resource, 0)), count)
    return GpuNode(
        name=name,
        resource=resource,
        product=next((labels[key] for key in _PRODUCTS if labels.get(key)), ""),
        instance=labels.get(_INSTANCE, ""),
        memory_gib=_memory(labels, resource, capacity),
        count=count,
        free=0 if closed else max(0, count - taken.get((name, resource), 0)),
        closed=closed,
        taints=tuple((str(t.get("key")), str(t.get("value") or ""), str(t["effect"])) for t in blocking),
    )


def _closed(
    body: Mapping[str, Any],
    labels: Mapping[str, str],
    blocking: list[Mapping[str, Any]],
    tolerated: frozenset[str],
) -> str:
    """Why no pod of ours can be put there."""
    if (body.get("spec") or {}).get("unschedulable"):
        return "it is cordoned"
    conditions = (body.get("status") or {}).get("conditions") or []
    ready = next((one.get("status") for one in conditions if one.get("type") == "Ready"), "True")
    if ready != "True":
        return "it is not ready"
    for taint in blocking:
        key = str(taint.get("key") or "")
        of_accelerators = any(word in key.lower() for word in _OF_ACCELERATORS)
        if key not in tolerated and (key.startswith(_NOT_OURS) or not of_accelerators):
            return f"its taint {key}:{taint['effect']} is not tolerated (--tolerate {key})"
    if any(_SLICED in labels.get(key, "") for key in _PRODUCTS):
        return "its GPUs are partitioned (MIG)"
    if labels.get(_NVIDIA_SHARES, "1") not in ("0", "1"):
        return f"each of its GPUs is shared {labels[_NVIDIA_SHARES]} ways"
    return ""


def _memory(labels: Mapping[str, str], resource: str, count: int) -> float | None:
    """GiB of one accelerator; None where no label tells."""
    if resource == "nvidia.com/gpu":
        return _positive(labels.get(_NVIDIA_MEMORY, ""), 1024)
    if resource == "amd.com/gpu":
        text = next((labels[key] for key in _AMD_MEMORY if key in labels), "")
        return _positive(text.removesuffix("G"), 1)
    if resource.startswith("gpu.intel.com/"):
        return _positive(labels.get(_INTEL_MEMORY, ""), count << 30)
    return None


def _positive(text: str, divisor: int) -> float | None:
    return int(text) / divisor if is_count(text) and int(text) > 0 else None


def _whole(given: object) -> int:
    """An amount of an extended resource; those are whole numbers."""
    try:
        return max(0, int(quantity.parse(given)))
    except ValueError:
        return 0

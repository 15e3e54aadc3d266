"""What a plan says of the nodes, as a deployment spec has it: which they are, RDMA, what a pod asks for."""

from typing import Final

from vllm_multinode.authoring.spec import Placement, Rdma, Resources
from vllm_multinode.authoring.spec.accelerators import AcceleratorType, product_label
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.planner.choice import Choice, Plan
from vllm_multinode.sizing.planner.request import Request

INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
"""https://kubernetes.io/docs/reference/labels-annotations-taints/#nodekubernetesioinstance-type"""

# The Elastic Fabric Adapter's device plugin; elsewhere the RDMA shared device plugin, named as in
# manifests/operators, of which one unit gives a pod all adapters of its node.
EFA: Final = "vpc.amazonaws.com/efa"
SHARED_RDMA: Final = "rdma/rdma_shared_device_ib"
# One core for every rank and two for the server; the host's memory for every rank's process and the server's.
_CPU_SERVER, _CPU_RANK = 2, 2
_GIB_SERVER, _GIB_RANK = 8, 4
# Of a node's cores and memory, what the system and its agents leave.
_ALLOCATABLE: Final = 0.85


def product_of(request: Request, kind: AcceleratorType) -> str | None:
    """The label of the accelerator, where its nodes have one and no node shape says more."""
    if by_shape(request) or product_label(kind) is None:
        return None
    facts = catalogue.find("accelerator", request.gpu.name)
    return facts.products[0] if facts is not None and len(facts.products) == 1 else None


def by_shape(request: Request) -> str:
    """The node shape that the nodes' own label names; empty without one: servers have no such label."""
    shape = request.shape
    return shape.name if shape is not None and shape.provider != "server" else ""


def placement(request: Request) -> Placement | None:
    """The nodes of the shape that was named; None where none was."""
    shape = by_shape(request)
    return Placement(node_selector={INSTANCE_TYPE: shape}) if shape else None


def rdma(request: Request, best: Choice) -> Rdma | None:
    """RDMA devices of each pod, where several nodes work together and their shape has some."""
    shape = request.shape
    if shape is None or not shape.rdma or best.nodes == 1:
        return None
    if shape.provider == "aws":
        return Rdma(resource=EFA, count=shape.rdma_devices or 1)
    return Rdma(resource=SHARED_RDMA)


def resources(plan: Plan, best: Choice, ranks: int) -> Resources:
    """CPU and memory of a pod with so many ranks, and no more than its share of a node of the shape."""
    cpu = _CPU_SERVER + _CPU_RANK * ranks
    memory = plan.shared_memory_gib + _GIB_SERVER + _GIB_RANK * ranks
    shape = plan.request.shape
    if shape is not None:
        share = _ALLOCATABLE * min(1.0, ranks / shape.accelerators)
        cpu = min(cpu, max(1, int((shape.vcpus or cpu / share) * share)))
        memory = min(memory, max(1, int((shape.memory_gib or memory / share) * share)))
    return Resources(cpu=str(cpu), memory=f"{memory}Gi")

"""Devices that pods ask for beside accelerators, RDMA adapters above all, and the nodes that lack them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.nodes import NODES, RESOURCES, has_labels
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.quantity import parse

Body = Mapping[str, Any]


class Pods(NamedTuple):
    """Pods of one deployment that are alike.

    Attributes:
        where: the object, as a message calls it.
        number: how many there will be.
        selector: labels that their nodes must have.
        accelerator: the resource that they compute with; empty for none.
        devices: what they ask for beside it -> how many each.
    """

    where: str
    number: int
    selector: Mapping[str, str]
    accelerator: str
    devices: Mapping[str, int]


def check(cluster: Cluster, bodies: Sequence[Body]) -> None:
    """Refuse pods whose devices the nodes meant for them do not offer.

    Nodes that an autoscaler has yet to add cannot be asked: nothing is rejected while no node is there that
    has the accelerators.

    Raises:
        MultinodeError: MISSING.
    """
    wanted = [pods for body in bodies for pods in pods_of(body) if pods.accelerator and pods.devices]
    if not wanted:
        return
    try:
        nodes, _ = cluster.list(NODES)
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        # Not everybody may list nodes; the scheduler will say it.
        return
    for pods in wanted:
        _check(pods, nodes)


def _check(pods: Pods, nodes: Sequence[Body]) -> None:
    meant = [
        node
        for node in nodes
        if has_labels(node, pods.selector) and _offered(node, pods.accelerator) and not _is_closed(node)
    ]
    for device, each in pods.devices.items():
        able = [node for node in meant if _offered(node, device) >= each]
        if not meant or len(able) >= pods.number or (able and len(meant) < pods.number):
            continue
        without = next(_name(node) for node in meant if node not in able)
        raise MultinodeError(
            ExitCode.MISSING,
            f"{pods.number} pods ask for {each} of {device} each, and {len(able)} of the {len(meant)} nodes "
            f"with {pods.accelerator} for them offer it; {without} does not. Nothing was written.",
            where=pods.where,
            hint="Install its device plugin on these nodes, choose others by placement.nodeSelector, or "
            "leave network.rdma out: NCCL then uses TCP.",
        )


def pods_of(body: Body) -> Iterator[Pods]:
    """The pods of an InferenceService over several nodes or of a LeaderWorkerSet, as far as it says."""
    spec = body.get("spec") or {}
    where = f"{body.get('kind')} {(body.get('metadata') or {}).get('name')}"
    if body.get("kind") == "InferenceService":
        predictor = spec.get("predictor") or {}
        worker = predictor.get("workerSpec")
        if not isinstance(worker, dict):
            return
        head = _pods(where, 1, predictor, predictor.get("model") or {})
        ranks = int(worker.get("tensorParallelSize") or 1) * int(worker.get("pipelineParallelSize") or 1)
        containers = worker.get("containers") or [{}]
        each = _amounts(containers[0]).get(head.accelerator) or ranks
        workers = _pods(where, max(1, -(-ranks // each) - 1), worker, containers[0])
        if workers._replace(number=1) == head:
            yield head._replace(number=1 + workers.number)
        else:
            yield from (head, workers)
    elif body.get("kind") == "LeaderWorkerSet":
        template = spec.get("leaderWorkerTemplate") or {}
        pod = (template.get("workerTemplate") or {}).get("spec") or {}
        count = int(template.get("size") or 1) * int(spec.get("replicas") or 1)
        yield _pods(where, count, pod, (pod.get("containers") or [{}])[0])


def _pods(where: str, count: int, pod: Mapping[str, Any], container: Mapping[str, Any]) -> Pods:
    amounts = _amounts(container)
    accelerator = next((name for name in RESOURCES if amounts.get(name)), "")
    devices = {
        name: amount
        for name, amount in amounts.items()
        # An extended resource has a domain; what a kubelet itself counts has none.
        if "/" in name and name not in RESOURCES and amount
    }
    selector = {str(key): str(value) for key, value in (pod.get("nodeSelector") or {}).items()}
    return Pods(where, count, selector, accelerator, devices)


def _amounts(container: Mapping[str, Any]) -> dict[str, int]:
    resources = container.get("resources") or {}
    together = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {str(name): _whole(value) for name, value in together.items()}


def _offered(node: Body, resource: str) -> int:
    return _whole(((node.get("status") or {}).get("allocatable") or {}).get(resource, 0))


def _is_closed(node: Body) -> bool:
    return bool((node.get("spec") or {}).get("unschedulable"))


def _name(node: Body) -> str:
    return str((node.get("metadata") or {}).get("name"))


def _whole(value: object) -> int:
    try:
        return int(parse(value))
    except (TypeError, ValueError):
        return 0

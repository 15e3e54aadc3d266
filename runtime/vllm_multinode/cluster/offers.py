"""What a cluster's nodes offer to a plan: one offer for each kind of accelerator."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.nodes import RESOURCES, GpuNode, gpu_nodes
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.planner.request import Gpu, find_gpu

Taint = tuple[str, str, str]


@dataclass(frozen=True)
class Offer:
    """Accelerators of one kind.

    Attributes:
        gpu: what they are.
        node_gpus: free ones of each node that has any, the most first.
        product: as the nodes' label has it; empty where they differ or have none.
        taints: key, value and effect that pods there have to tolerate.
        notes: how many there are, and which nodes are left out and why.
    """

    gpu: Gpu
    node_gpus: tuple[int, ...]
    product: str = ""
    taints: tuple[Taint, ...] = ()
    notes: tuple[str, ...] = ()


def offers(
    nodes: Iterable[GpuNode], named: str = "", memory_gib: float | None = None, most: int | None = None
) -> list[Offer]:
    """Every kind of accelerator that a node has free, the most of them first.

    Args:
        nodes: of the cluster.
        named: --gpu: only these; it also says what the nodes are that do not say it themselves.
        memory_gib: --gpu-memory, instead of what labels and catalogue say.
        most: --nodes: no more nodes than this, those with the most free ones first.

    Raises:
        MultinodeError: DOES_NOT_FIT, where there is nothing to plan with, with the reason.
    """
    kinds: defaultdict[tuple[str, str], list[tuple[Gpu, GpuNode]]] = defaultdict(list)
    unknown: list[GpuNode] = []
    wanted = find_gpu(named, memory_gib)[0] if named else None
    for node in nodes:
        gpu = _gpu_of(node, wanted, memory_gib)
        if gpu is None:
            unknown.append(node)
        elif wanted is None or gpu.name == wanted.name:
            kinds[gpu.name, f"{gpu.memory_gib:.0f}"].append((gpu, node))
    made = [_offer(members) for members in kinds.values()]
    found = sorted((one for one in made if one.node_gpus), key=lambda one: -sum(one.node_gpus))
    if not found:
        raise _nothing(kinds.values(), unknown, named)
    return [replace(_at_most(one, most), notes=(*one.notes, *_unnamed(unknown))) for one in found]


def _at_most(offer: Offer, nodes: int | None) -> Offer:
    return offer if nodes is None else replace(offer, node_gpus=offer.node_gpus[:nodes])


def largest_gpu(cluster: Cluster) -> Gpu | None:
    """The accelerator with the most memory that any node has, in use or not; None where nobody tells."""
    try:
        nodes, _ = gpu_nodes(cluster)
    except MultinodeError:
        return None
    kinds = [_gpu_of(node, None, None) for node in nodes]
    known = [gpu for gpu in kinds if gpu is not None]
    # A node of an unknown kind may be the one that is large enough.
    return max(known, key=lambda gpu: gpu.memory_gib) if known and len(known) == len(kinds) else None


def _gpu_of(node: GpuNode, wanted: Gpu | None, memory_gib: float | None) -> Gpu | None:
    """What the node's labels say, then what its instance type has, then what the user says."""
    memory = memory_gib if memory_gib is not None else node.memory_gib
    shape = _looked_up(node.instance, None)
    if node.product and (gpu := _looked_up(node.product, memory)) is not None:
        same = shape is not None and shape.name == gpu.name
        return replace(gpu, network_gbs=shape.network_gbs if same and shape else None, resource=node.resource)
    if shape is not None and shape.resource == node.resource:
        return replace(shape, memory_gib=memory or shape.memory_gib)
    return wanted


def _looked_up(name: str, memory_gib: float | None) -> Gpu | None:
    try:
        return find_gpu(name, memory_gib)[0] if name else None
    except MultinodeError:
        return None


def _offer(members: Sequence[tuple[Gpu, GpuNode]]) -> Offer:
    gpu = min((gpu for gpu, _ in members), key=lambda one: one.memory_gib)
    nodes = [node for _, node in members]
    free = tuple(sorted((node.free for node in nodes if node.free), reverse=True))
    products = {node.product for node in nodes if node.free}
    taints = tuple(dict.fromkeys(taint for node in nodes if node.free for taint in node.taints))
    have = f"{len(free)} of {len(nodes)} nodes with {gpu.name} have free GPUs"
    notes = [f"{have}: {', '.join(map(str, free))}." if free else f"{have}."]
    for why, count in Counter(node.closed for node in nodes if node.closed).items():
        names = [node.name for node in nodes if node.closed == why]
        more = f" and {count - 1} more" if count > 1 else ""
        notes.append(f"Left out: {names[0]}{more}, because {why}.")
    return Offer(gpu, free, products.pop() if len(products) == 1 else "", taints, tuple(notes))


def _unnamed(unknown: Sequence[GpuNode]) -> tuple[str, ...]:
    if not unknown:
        return ()
    first = unknown[0]
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return (f"Left out: {first.name}{more}, which no label says the type of; --gpu names it.",)


def _nothing(
    kinds: Iterable[Sequence[tuple[Gpu, GpuNode]]], unknown: Sequence[GpuNode], named: str
) -> MultinodeError:
    """Why there is nothing to plan with."""
    found = [_offer(members) for members in kinds]
    if found:
        what = " ".join(note for one in found for note in one.notes)
        return MultinodeError(ExitCode.DOES_NOT_FIT, what, hint="Free some, or add nodes.")
    if unknown:
        return MultinodeError(ExitCode.DOES_NOT_FIT, _unnamed(unknown)[0])
    which = named or f"accelerators ({', '.join(RESOURCES)})"
    what = f"no node of the cluster has {which}."
    hint = "Is the device plugin (GPU operator) running? `kubectl describe nodes` shows what they offer."
    return MultinodeError(ExitCode.DOES_NOT_FIT, what, hint=hint)

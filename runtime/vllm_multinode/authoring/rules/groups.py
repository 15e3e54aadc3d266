"""Nodes, GPUs and placement: what KServe makes of the numbers that were written."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.edits import Edit
from vllm_multinode.authoring.rules.rule import (
    MODEL,
    PREDICTOR,
    RUNTIMES,
    WORKER_SPEC,
    Case,
    Container,
    Found,
    Rule,
    every,
)
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.k8s import quantity
from vllm_multinode.k8s.access import Path, at, mapping, text
from vllm_multinode.platforms import names
from vllm_multinode.platforms.kserve.nodes import Layout
from vllm_multinode.platforms.releases import Release

_TABLE: Final = "the running controllers of v0.15.0 to v0.20.0"
_KINDS: Final = ("InferenceService", *RUNTIMES)
# What a pod's scheduling and security hang on; what is set for the head is not set for the workers.
_FOR_BOTH: Final = (
    "tolerations",
    "nodeSelector",
    "affinity",
    "topologySpreadConstraints",
    "securityContext",
    "serviceAccountName",
    "imagePullSecrets",
    "runtimeClassName",
    "priorityClassName",
    "schedulerName",
    "resourceClaims",
    "volumes",
)


def _counting(release: Release) -> bool:
    return release.counts_nodes_by_gpu_requests


def _not_counting(release: Release) -> bool:
    return release.knows_worker_spec and not _counting(release)


def _gpu_containers(case: Case) -> Iterator[tuple[Container, str]]:
    """The containers that become head or worker, each with every GPU resource that it names."""
    for container in case.containers:
        if container.role != "other":
            for name in names.GPU_RESOURCES:
                if any(name in mapping(container.body, "resources", part) for part in ("limits", "requests")):
                    yield container, name


def _limits_only(case: Case) -> Iterator[Found]:
    if case.document.kind == "InferenceService" and not case.multi_node:
        return
    if case.document.kind in RUNTIMES and at(case.body, "spec", "workerSpec") is None:
        return
    for container, name in _gpu_containers(case):
        limit = at(container.body, "resources", "limits", name)
        if limit is None or at(container.body, "resources", "requests", name) is not None:
            continue
        if container.role != "other" and _requested_elsewhere(case, container, name):
            continue
        what = (
            f"KServe takes the {limit} of {name} for unset, because they stand under limits alone, "
            f"and overwrites "
            "them with its own count, one GPU a pod where nothing else is requested."
        )
        fix = _written((*container.path, "resources", "requests", name), limit)
        yield Found((*container.path, "resources", "limits", name), what, fix=fix)


def _written(path: Path, value: object) -> tuple[Edit, ...]:
    """The edit that writes a number of GPUs, as it stands elsewhere."""
    return (Edit(path, value),) if isinstance(value, (str, int)) else ()


def _requested_elsewhere(case: Case, container: Container, name: str) -> bool:
    """Whether the ServingRuntime requests them, over which an InferenceService is merged."""
    if case.document.kind != "InferenceService" or container.role == "other":
        return False
    return at(case.runtime_container(container.role), "resources", "requests", name) is not None


def _limit_differs(case: Case) -> Iterator[Found]:
    for container, name in _gpu_containers(case):
        limit = at(container.body, "resources", "limits", name)
        request = at(container.body, "resources", "requests", name)
        if limit is None or request is None or str(limit) == str(request) or not _differ(limit, request):
            continue
        path = (*container.path, "resources", "limits", name)
        what = f"the request of {request} {name} wins: KServe overwrites the limit of {limit} with it."
        yield Found(path, what, fix=_written(path, request))


def _differ(one: object, other: object) -> bool:
    try:
        return quantity.parse(one) != quantity.parse(other)
    except ValueError:
        return False


def _not_allocated(case: Case) -> Iterator[Found]:
    if isinstance(case.layout, MultinodeError):
        what = f"KServe makes no pods (InvalidGPUAllocation): {case.layout.what}"
        yield Found(WORKER_SPEC, what)


def _one_gpu_each(case: Case) -> Iterator[Found]:
    made = case.layout
    if not isinstance(made, Layout) or EXECUTORS[case.executor].node_per_stage or not _counting(case.release):
        return
    if case.gpu_requests("head") or case.gpu_requests("worker") or case.size("tensorParallelSize") == 1:
        return
    if any(_limited(case, role) for role in ("head", "worker")):
        return  # gpu-limits-only says it
    what = (
        f"neither head nor worker requests GPUs, so KServe makes {made.nodes} pods of one GPU each of TP "
        f"{case.size('tensorParallelSize')} x PP {case.size('pipelineParallelSize')}."
    )
    yield Found(WORKER_SPEC, what)


def _limited(case: Case, role: str) -> bool:
    part = case.service_container("head" if role == "head" else "worker")[1]
    return any(name in mapping(part, "resources", "limits") for name in names.GPU_RESOURCES)


def _one_node(case: Case) -> Iterator[Found]:
    made = case.layout
    if isinstance(made, Layout) and made.nodes == 1:
        what = f"the head alone takes all {made.head_gpus} GPUs: KServe makes no worker."
        yield Found(WORKER_SPEC, what)


def _across_nodes(case: Case) -> Iterator[Found]:
    made, tensor = case.layout, case.size("tensorParallelSize")
    if isinstance(made, Layout) and made.nodes > 1 and tensor > max(made.head_gpus, made.worker_gpus):
        what = (
            f"TP {tensor} reaches over several nodes, of {made.worker_gpus} GPUs each: every layer waits "
            f"for the "
        )
        yield Found((*WORKER_SPEC, "tensorParallelSize"), f"{what}network.")


def _two_types(case: Case) -> Iterator[Found]:
    if not case.runtime:
        return
    for role in ("head", "worker"):
        path, own = case.service_container("head" if role == "head" else "worker")
        theirs = case.runtime_container("head" if role == "head" else "worker")
        mine, runtimes = _types(own), _types(theirs)
        if mine and runtimes and not set(mine) & set(runtimes):
            what = (
                f"the {role}'s pods ask for {mine[0]} and for {runtimes[0]}, since the ServingRuntime "
                f"names the "
                "other: no node has both."
            )
            yield Found((*path, "resources"), what)


def _types(container: object) -> list[str]:
    return [
        name
        for name in names.GPU_RESOURCES
        if any(name in mapping(container, "resources", part) for part in ("limits", "requests"))
    ]


def _head_image(case: Case) -> Iterator[Found]:
    if not case.multi_node or not text(case.body, *MODEL, "image"):
        return
    worker = text(case.body, *WORKER_SPEC, "containers", 0, "image")
    theirs = text(case.runtime_container("worker"), "image")
    head = text(case.body, *MODEL, "image")
    if (worker or theirs) != head and (worker or theirs or not case.runtime):
        other = worker or theirs or "the ServingRuntime's"
        yield Found((*MODEL, "image"), f"only the head runs {head}; the workers run {other}.")


def _workers_left_out(case: Case) -> Iterator[Found]:
    if not case.multi_node:
        return
    predictor, worker = mapping(case.body, *PREDICTOR), mapping(case.body, *WORKER_SPEC)
    theirs = mapping(case.runtime, "spec", "workerSpec")
    missing = [
        name for name in _FOR_BOTH if predictor.get(name) and not worker.get(name) and not theirs.get(name)
    ]
    for name in missing:
        what = f"{name} is set for the head alone: the workers' pods go without it."
        yield Found((*PREDICTOR, name), what, f"Write it under spec.predictor.workerSpec.{name} as well.")


def _update(case: Case) -> Iterator[Found]:
    strategy = mapping(case.body, *PREDICTOR, "deploymentStrategy")
    if case.multi_node and strategy.get("type") != "Recreate":
        path = (*PREDICTOR, "deploymentStrategy") if strategy else PREDICTOR
        yield Found(path)


def _worker_replicas(case: Case) -> Iterator[Found]:
    """Requests that are not counted: nodes are PP and GPUs are TP, whatever the containers ask for."""
    if _counting(case.release) or case.layout is None:
        return
    tensor = case.size("tensorParallelSize")
    for role in ("head", "worker"):
        asked = case.gpu_requests("head" if role == "head" else "worker")
        if asked and asked != tensor:
            what = (
                f"{case.release.label} gives every pod TP ({tensor}) GPUs; the {role}'s request of {asked} "
                "is overwritten."
            )
            yield Found(WORKER_SPEC, what, f"Request {tensor}, or choose TP to be the GPUs of a node.")


RULES: Final = (
    Rule(
        "gpu-limits-only",
        "stalls",
        "GPUs under limits alone count as unset: KServe overwrites them with its own count, one GPU "
        "a pod where nothing "
        "else is requested.",
        "Write the same number under requests.",
        _TABLE,
        _limits_only,
        _KINDS,
    ),
    Rule(
        "gpu-limit-differs",
        "risk",
        "The GPU request wins: KServe overwrites a limit that differs.",
        "Write the same number under limits and requests.",
        _TABLE,
        _limit_differs,
        _KINDS,
        _counting,
    ),
    Rule(
        "gpu-allocation",
        "stalls",
        "KServe makes no pods (InvalidGPUAllocation): TP x PP is more than head and workers hold.",
        "Raise the GPU requests of head or worker.",
        _TABLE,
        _not_allocated,
        holds=_counting,
    ),
    Rule(
        "gpu-requests-missing",
        "risk",
        "Neither head nor worker requests GPUs, so KServe makes TP x PP pods of one GPU each.",
        "Write the GPUs of a node under requests and limits of the head's and of the worker's container.",
        "recorded: ray-tp8-pp2-no-gpus",
        _one_gpu_each,
        holds=_counting,
    ),
    Rule(
        "gpu-request-overwritten",
        "risk",
        "KServe v0.15.0 gives every pod TP GPUs, whatever the containers request.",
        "Choose TP to be the GPUs of a node.",
        "KServe v0.15.0, multiNodeProcess",
        _worker_replicas,
        holds=_not_counting,
    ),
    Rule(
        "gpu-types-mixed",
        "stalls",
        "The InferenceService names another GPU resource than its ServingRuntime, so its pods ask for both.",
        "Name the same resource in both.",
        "the running controllers of v0.15.0 to v0.20.0",
        _two_types,
    ),
    Rule(
        "single-node",
        "advice",
        "The head alone takes all GPUs: KServe makes no worker.",
        "Lower the head's request, or leave workerSpec out.",
        "the running controllers of v0.15.0 to v0.20.0",
        _one_node,
    ),
    Rule(
        "tensor-across-nodes",
        "advice",
        "TP reaches over several nodes: every layer waits for the network.",
        "Set TP to the GPUs of a node and PP to the number of nodes.",
        "vLLM's own parallelism",
        _across_nodes,
    ),
    Rule(
        "head-image",
        "risk",
        "spec.predictor.model.image changes the head alone; the workers keep the ServingRuntime's image.",
        "Write the image into the ServingRuntime, or into spec.predictor.workerSpec.containers[0].image too.",
        _TABLE,
        _head_image,
    ),
    Rule(
        "workers-left-out",
        "risk",
        "A field is set for the head alone, and the workers' pods go without it.",
        "Write it under spec.predictor.workerSpec as well.",
        "recorded: placement-differs-head-worker",
        _workers_left_out,
    ),
    Rule(
        "rolling-update",
        "risk",
        "An update starts the new group beside the old one: it needs a second set of GPUs, or waits "
        "for ever.",
        "Set spec.predictor.deploymentStrategy to {type: Recreate}; v0.16.0 takes it with the "
        "deployment mode Standard "
        "only.",
        "the running controllers of v0.15.0 to v0.20.0",
        _update,
        holds=every,
    ),
)

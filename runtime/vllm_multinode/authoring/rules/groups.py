"""Nodes, GPUs and placement: what KServe makes of the numbers that were written."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import (
    MODEL,
    PREDICTOR,
    RUNTIMES,
    WORKER_SPEC,
    Case,
    Container,
    Rule,
    every,
    simulated,
)
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.contract.finding import Edit, Finding, Path
from vllm_multinode.k8s import quantity
from vllm_multinode.k8s.access import at, mapping, text
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


def _limits_only(case: Case) -> Iterator[Finding]:
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
            f"KServe treats the {limit} of {name} as unset, because they are under limits only, and "
            "overwrites them with its own count, one GPU per pod if nothing else is requested."
        )
        fix = _written((*container.path, "resources", "requests", name), limit)
        yield Finding((*container.path, "resources", "limits", name), what, fix=fix)


def _written(path: Path, value: object) -> tuple[Edit, ...]:
    """The edit that writes a number of GPUs, as it stands elsewhere."""
    return (Edit(path, value),) if isinstance(value, (str, int)) else ()


def _requested_elsewhere(case: Case, container: Container, name: str) -> bool:
    """Whether the ServingRuntime requests them, over which an InferenceService is merged."""
    if case.document.kind != "InferenceService" or container.role == "other":
        return False
    return at(case.runtime_container(container.role), "resources", "requests", name) is not None


def _limit_differs(case: Case) -> Iterator[Finding]:
    for container, name in _gpu_containers(case):
        limit = at(container.body, "resources", "limits", name)
        request = at(container.body, "resources", "requests", name)
        if limit is None or request is None or str(limit) == str(request) or not _differ(limit, request):
            continue
        path = (*container.path, "resources", "limits", name)
        what = (
            f"the request of {request} {name} takes precedence: KServe overwrites the limit of {limit} "
            "with it."
        )
        yield Finding(path, what, fix=_written(path, request))


def _differ(one: object, other: object) -> bool:
    try:
        return quantity.parse(one) != quantity.parse(other)
    except ValueError:
        return False


def _one_gpu_each(case: Case) -> Iterator[Finding]:
    made = case.layout
    if not isinstance(made, Layout) or EXECUTORS[case.executor].node_per_stage or not _counting(case.release):
        return
    if case.gpu_requests("head") or case.gpu_requests("worker") or case.size("tensorParallelSize") == 1:
        return
    if any(_limited(case, role) for role in ("head", "worker")):
        return  # gpu-limits-only says it
    what = (
        f"neither head nor worker requests GPUs, so KServe creates {made.nodes} pods with one GPU each "
        f"for TP {case.size('tensorParallelSize')} x PP {case.size('pipelineParallelSize')}."
    )
    yield Finding(WORKER_SPEC, what)


def _limited(case: Case, role: str) -> bool:
    part = case.service_container("head" if role == "head" else "worker")[1]
    return any(name in mapping(part, "resources", "limits") for name in names.GPU_RESOURCES)


def _one_node(case: Case) -> Iterator[Finding]:
    made = case.layout
    if isinstance(made, Layout) and made.nodes == 1:
        what = f"the head uses all {made.head_gpus} GPUs: KServe creates no worker."
        yield Finding(WORKER_SPEC, what)


def _across_nodes(case: Case) -> Iterator[Finding]:
    made, tensor = case.layout, case.size("tensorParallelSize")
    if isinstance(made, Layout) and made.nodes > 1 and tensor > max(made.head_gpus, made.worker_gpus):
        what = f"TP {tensor} spans several nodes of {made.worker_gpus} GPUs each: every layer waits for the "
        yield Finding((*WORKER_SPEC, "tensorParallelSize"), f"{what}network.")


def _head_image(case: Case) -> Iterator[Finding]:
    if not case.multi_node or not text(case.body, *MODEL, "image"):
        return
    worker = text(case.body, *WORKER_SPEC, "containers", 0, "image")
    theirs = text(case.runtime_container("worker"), "image")
    head = text(case.body, *MODEL, "image")
    if (worker or theirs) != head and (worker or theirs or not case.runtime):
        other = worker or theirs or "the ServingRuntime's"
        yield Finding((*MODEL, "image"), f"only the head runs {head}; the workers run {other}.")


def _workers_left_out(case: Case) -> Iterator[Finding]:
    if not case.multi_node:
        return
    predictor, worker = mapping(case.body, *PREDICTOR), mapping(case.body, *WORKER_SPEC)
    theirs = mapping(case.runtime, "spec", "workerSpec")
    missing = [
        name for name in _FOR_BOTH if predictor.get(name) and not worker.get(name) and not theirs.get(name)
    ]
    for name in missing:
        what = f"{name} is set only for the head: the workers' pods do not have it."
        yield Finding((*PREDICTOR, name), what, f"Set it under spec.predictor.workerSpec.{name} too.")


def _update(case: Case) -> Iterator[Finding]:
    strategy = mapping(case.body, *PREDICTOR, "deploymentStrategy")
    if case.multi_node and strategy.get("type") != "Recreate":
        path = (*PREDICTOR, "deploymentStrategy") if strategy else PREDICTOR
        yield Finding(path)


RULES: Final = (
    Rule(
        id="gpu-limits-only",
        severity="risk",
        message=(
            "GPUs under limits only count as unset: KServe overwrites them with "
            "its own count, one GPU per pod if nothing else is requested."
        ),
        hint="Write the same number under requests.",
        seen=_TABLE,
        check=_limits_only,
        kinds=_KINDS,
    ),
    Rule(
        id="gpu-limit-differs",
        severity="risk",
        message="The GPU request takes precedence: KServe overwrites a different limit.",
        hint="Write the same number under limits and requests.",
        seen=_TABLE,
        check=_limit_differs,
        kinds=_KINDS,
        holds=_counting,
    ),
    Rule(
        id="gpu-allocation",
        severity="stalls",
        message=(
            "KServe creates no pods (InvalidGPUAllocation): TP x PP exceeds the GPUs of head and workers."
        ),
        hint="Increase the GPU requests of head or worker.",
        seen=_TABLE,
        check=simulated("gpu-allocation"),
        holds=_counting,
    ),
    Rule(
        id="gpu-requests-missing",
        severity="risk",
        message="Neither head nor worker requests GPUs, so KServe creates TP x PP pods with one GPU each.",
        hint=(
            "Write the GPUs of a node under requests and limits of the head's and of the worker's container."
        ),
        seen="recorded: ray-tp8-pp2-no-gpus",
        check=_one_gpu_each,
        holds=_counting,
    ),
    Rule(
        id="gpu-request-overwritten",
        severity="risk",
        message=(
            "KServe gives pods other numbers of GPUs than their containers request: TP each with the "
            "executor mp, and always up to v0.15.0 and OpenShift AI 2.22."
        ),
        hint="Choose TP to be the GPUs of a node.",
        seen="KServe's predictor, multiNodeProcess",
        check=simulated("gpu-request-overwritten"),
    ),
    Rule(
        id="gpu-types-mixed",
        severity="stalls",
        message=(
            "The InferenceService names another GPU resource than its ServingRuntime, so its "
            "pods request both."
        ),
        hint="Use the same resource in both.",
        seen="the running controllers of v0.15.0 to v0.20.0",
        check=simulated("gpu-types-mixed"),
    ),
    Rule(
        id="gpu-type-not-counted",
        severity="risk",
        message=(
            "A GPU type that the annotation allows is not counted: nodes follow only from "
            "KServe's own four types."
        ),
        hint="Use the executor mp, or list the type in the ConfigMap's multiNode.customGPUResourceTypeList.",
        seen="KServe's predictor, computeRayNodeAndGPUs",
        check=simulated("gpu-type-not-counted"),
    ),
    Rule(
        id="single-node",
        severity="advice",
        message="The head uses all GPUs: KServe creates no worker.",
        hint="Lower the head's request, or remove workerSpec.",
        seen="the running controllers of v0.15.0 to v0.20.0",
        check=_one_node,
    ),
    Rule(
        id="tensor-across-nodes",
        severity="advice",
        message="TP spans several nodes: every layer waits for the network.",
        hint="Set TP to the GPUs of a node and PP to the number of nodes.",
        seen="vLLM's own parallelism",
        check=_across_nodes,
    ),
    Rule(
        id="head-image",
        severity="risk",
        message=(
            "spec.predictor.model.image changes only the head; the workers keep the ServingRuntime's image."
        ),
        hint=(
            "Write the image into the ServingRuntime, or into "
            "spec.predictor.workerSpec.containers[0].image too."
        ),
        seen=_TABLE,
        check=_head_image,
    ),
    Rule(
        id="workers-left-out",
        severity="risk",
        message="A field is set only for the head, and the workers' pods do not have it.",
        hint="Set it under spec.predictor.workerSpec too.",
        seen="recorded: placement-differs-head-worker",
        check=_workers_left_out,
    ),
    Rule(
        id="rolling-update",
        severity="risk",
        message=(
            "An update starts the new group next to the old one: it needs a second set of GPUs, or "
            "never finishes."
        ),
        hint=(
            "Set spec.predictor.deploymentStrategy to {type: Recreate}; v0.16.0 accepts it only "
            "with the deployment mode Standard."
        ),
        seen="the running controllers of v0.15.0 to v0.20.0",
        check=_update,
        holds=every,
    ),
)

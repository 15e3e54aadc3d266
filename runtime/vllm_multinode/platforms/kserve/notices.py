"""What is dropped, overwritten or assumed without stopping the service."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vllm_multinode.contract import env
from vllm_multinode.platforms import gpus, names
from vllm_multinode.platforms.kserve import containers
from vllm_multinode.platforms.kserve.defaulting import POD_FIELDS, runtime_pod_fields
from vllm_multinode.platforms.kserve.reconcile import Source
from vllm_multinode.platforms.model import Group, Path
from vllm_multinode.platforms.releases import Release

Told = tuple[str, Path]

_PREDICTOR: Final[Path] = ("spec", "predictor")
_WORKER: Final[Path] = (*_PREDICTOR, "workerSpec")
_PLACEMENT: Final = ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints")


def warnings_of_input(body: Mapping[str, Any], release: Release) -> list[Told]:
    """Warnings that an object shows by itself, as it was written."""
    if body["kind"] == "InferenceService":
        return [*_service(body)]
    return [*_dropped(body["spec"], ("spec",), release)]


def warnings_of_group(source: Source, group: Group) -> list[Told]:
    """Warnings that show in what is made."""
    if not source.multi_node:
        return []
    return [
        *_overwritten(source, group),
        *_worker_only(source, group),
        *_placement(source),
        *_custom_gpus(source, group),
        *_two_types(source, group),
        *_head_services(source),
        *_never_ready(source),
    ]


def _service(body: Mapping[str, Any]) -> Iterator[Told]:
    annotations = body["metadata"].get("annotations") or {}
    predictor = body["spec"]["predictor"]
    if names.DEPLOYMENT_MODE not in annotations:
        yield (
            f"{names.DEPLOYMENT_MODE} is not set: the cluster's ConfigMap decides; Standard is taken here.",
            ("metadata", "annotations"),
        )
    for part in ("transformer", "explainer"):
        if body["spec"].get(part) is not None:
            yield f"The {part}'s objects are not shown.", ("spec", part)
    for part in ("logger", "batcher"):
        if predictor.get(part) is not None:
            yield f"The agent that the {part} adds to the head's pod is not shown.", (*_PREDICTOR, part)
    if predictor.get("model") is None and predictor.get("workerSpec") is None:
        yield "A predictor with a container of its own is not shown.", _PREDICTOR
    worker = (predictor.get("workerSpec") or {}).get("containers") or []
    parts: Sequence[tuple[Path, Mapping[str, Any]]] = [
        ((*_PREDICTOR, "model"), predictor.get("model") or {}),
        *(((*_WORKER, "containers", index), one) for index, one in enumerate(worker)),
    ]
    for path, container in parts:
        for index, variable in enumerate(container.get("env") or []):
            if variable.get("value") == "":
                yield (
                    (
                        f"An empty value does not reach KServe's merge: a {variable['name']} of the "
                        "ServingRuntime stays as it is."
                    ),
                    (*path, "env", index),
                )


def _dropped(spec: Mapping[str, Any], path: Path, release: Release) -> Iterator[Told]:
    carried = runtime_pod_fields(release)
    for field in spec:
        if field in POD_FIELDS and field not in carried:
            yield (
                (
                    f"A ServingRuntime does not carry {field}: it is dropped without a word. Write it under "
                    "the InferenceService's spec.predictor, and again under its workerSpec for the workers."
                ),
                (*path, field),
            )
    worker = spec.get("workerSpec")
    if worker is not None and path == ("spec",):
        yield from _dropped(worker, ("spec", "workerSpec"), release)


def _overwritten(source: Source, group: Group) -> Iterator[Told]:
    """GPU counts that are written and do not stay."""
    predictor = source.predictor
    own = (predictor.get("workerSpec") or {}).get("containers") or [{}]
    written = {"head": predictor["model"], "worker": own[0]}
    paths = {"head": (*_PREDICTOR, "model"), "worker": (*_WORKER, "containers", 0)}
    for role in group.roles:
        asked = written[role.role].get("resources") or {}
        for part in ("limits", "requests"):
            count = gpus.requested({"resources": {"requests": asked.get(part) or {}}})
            if count and count != role.gpus:
                yield (
                    f"The {role.role}'s {count} GPUs under {part} are overwritten by {role.gpus}.",
                    (*paths[role.role], "resources", part),
                )


def _worker_only(source: Source, group: Group) -> Iterator[Told]:
    below = source.runtime["spec"]["workerSpec"]["containers"][0]
    left = containers.placeholders(group.roles[1].pod["containers"][0])
    if left:
        yield (
            f"{', '.join(left)} is not filled in for workers: KServe replaces placeholders in the head only.",
            _WORKER,
        )
    image = source.predictor["model"].get("image")
    worker_image = group.roles[1].pod["containers"][0].get("image")
    if image and worker_image and image != worker_image:
        yield (
            (
                f"model.image changes the head only; the workers run {worker_image}. Write the image in "
                "workerSpec.containers too."
            ),
            (*_PREDICTOR, "model", "image"),
        )
    own = (source.predictor["workerSpec"].get("containers") or [{}])[0]
    for variable in (env.TENSOR_PARALLEL_SIZE, env.PIPELINE_PARALLEL_SIZE):
        for container in (own, below):
            if any(one["name"] == variable for one in container.get("env") or []):
                overwritten = variable in source.release.worker_variables
                kept = "is overwritten by KServe's" if overwritten else "stays as written beside the head's"
                yield f"{variable} on the worker's container {kept}; set it in workerSpec alone.", _WORKER
                break


def _placement(source: Source) -> Iterator[Told]:
    worker = {**source.runtime["spec"]["workerSpec"], **source.predictor["workerSpec"]}
    for field in _PLACEMENT:
        if source.predictor.get(field) and not worker.get(field):
            yield (
                f"{field} of spec.predictor holds for the head only; the workers have none.",
                (*_PREDICTOR, field),
            )


def _custom_gpus(source: Source, group: Group) -> Iterator[Told]:
    """GPUs of a type that an annotation allows; KServe v0.15.0 and mp count by TP and PP alone."""
    if not source.release.counts_nodes_by_gpu_requests or group.executor == "mp":
        return
    asked = {name for role in group.roles for one in role.pod["containers"] for name in gpus.resources(one)}
    own = sorted(name for name in asked if gpus.is_gpu(name) and name not in names.GPU_RESOURCES)
    if own:
        yield (
            (
                f"{', '.join(own)} is allowed but not counted: KServe counts nodes by its own four GPU types "
                "alone, unless the ConfigMap's multiNode.customGPUResourceTypeList names it."
            ),
            ("metadata", "annotations", names.GPU_TYPES),
        )


def _two_types(source: Source, group: Group) -> Iterator[Told]:
    """KServe looks for the first GPU in a Go map, whose order is a new one each time it is walked."""
    if not source.release.counts_nodes_by_gpu_requests or group.executor == "mp":
        return
    for role in group.roles:
        asked = gpus.resources(role.pod["containers"][0])
        named = [one for one in names.GPU_RESOURCES if one in asked]
        if len(named) > 1:
            yield (
                (
                    f"The {role.role} asks for {' and '.join(named)}: KServe counts either of them, at "
                    "random on every reconcile. Name one in both ServingRuntime and InferenceService."
                ),
                _WORKER if role.role == "worker" else (*_PREDICTOR, "model", "resources"),
            )


def _head_services(source: Source) -> Iterator[Told]:
    if source.release.keeps_three_head_services:
        yield (
            (
                "Before v0.17 KServe keeps only the three newest head Services of the whole cluster and "
                "deletes the others: more than three multi-node generations cannot run side by side."
            ),
            _WORKER,
        )


def _never_ready(source: Source) -> Iterator[Told]:
    if source.release.never_sets_ready:
        yield (
            (
                "KServe v0.16 to v0.19 leave PredictorReady at Unknown although both Deployments are "
                "available: the service serves and never says Ready (kserve#5703). Wait for its Deployments."
            ),
            _WORKER,
        )

"""What is accepted and then never serves: the controller drops it, repeats it or never finishes."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from vllm_multinode.platforms import names
from vllm_multinode.platforms.kserve.reconcile import Source, merged
from vllm_multinode.platforms.model import Body, Group, Path, Role
from vllm_multinode.platforms.releases import Release

Told = tuple[str, Path]

_PREDICTOR: Final[Path] = ("spec", "predictor")
_WORKER: Final[Path] = (*_PREDICTOR, "workerSpec")
_PATHS: Final[Mapping[str, Path]] = {"head": _PREDICTOR, "worker": _WORKER}


def stalls_of_input(body: Mapping[str, Any], service: Body, release: Release) -> tuple[bool, list[Told]]:
    """Stalls that the InferenceService shows by itself, and whether nothing at all is made."""
    predictor = service["spec"]["predictor"]
    multi_node = predictor.get("workerSpec") is not None
    found = [*_host(service)]
    stopped = bool(found)
    if not release.knows_worker_spec and body["spec"]["predictor"].get("workerSpec") is not None:
        found.append(
            (
                (
                    "This KServe does not know workerSpec and drops it: one head pod is made, and no error "
                    "is shown. Use v0.15.1 or newer, or a LeaderWorkerSet."
                ),
                _WORKER,
            )
        )
    for text, path in _mode(service, release):
        stopped = True
        found.append((text, path))
    if predictor.get("model") is None:
        stopped = True
        if multi_node:
            text = (
                "A predictor without `model` gets no ServingRuntime, so the controller panics on every "
                "reconcile and nothing is made. Use spec.predictor.model."
            )
            found.append((text, _PREDICTOR))
    if multi_node:
        found += _head_service(service, release)
    return stopped, found


def stalls_of_group(source: Source, group: Group) -> list[Told]:
    """Stalls that show in what is made."""
    found: list[Told] = []
    if source.multi_node:
        found += _multi_node(source, group)
        found += _limits_only(source)
    for role in group.roles:
        found += _pods(source, group, role)
    for text in group.refused:
        found.append((f"The API server refuses the {text}. KServe stops there.", _path_of(text, group)))
    return found


def _host(service: Body) -> Iterator[Told]:
    name, namespace = service["metadata"]["name"], service["metadata"].get("namespace", "")
    host = f"{names.predictor(name)}-{namespace}" if namespace else names.predictor(name)
    if len(host) > names.LABEL_LIMIT:
        yield (
            (
                f"'failed creating host name': {host} has {len(host)} characters, {names.LABEL_LIMIT} are "
                "allowed; nothing is made and only an event tells. Shorten the name or the namespace."
            ),
            ("metadata", "name"),
        )


def _mode(service: Body, release: Release) -> Iterator[Told]:
    annotations = service["metadata"]["annotations"]
    mode = annotations[names.DEPLOYMENT_MODE]
    path: Path = ("metadata", "annotations", names.DEPLOYMENT_MODE)
    if mode in (*release.knative_modes, "ModelMesh"):
        yield (
            (
                f"The deployment mode is {mode}: no Deployment is made, and without Knative nothing is "
                "(ServerlessModeRejected). Write Standard, or RawDeployment up to v0.15."
            ),
            path,
        )
    if release.knows_stop_annotation and annotations.get(names.STOP, "").lower() == "true":
        yield (
            f"The annotation {names.STOP} stops it: its objects are deleted.",
            ("metadata", "annotations", names.STOP),
        )


def _head_service(service: Body, release: Release) -> Iterator[Told]:
    name = service["metadata"]["name"]
    variant = service["spec"]["predictor"].get("name", "") if release.knows_variants else ""
    told, made = names.head_service(name, 1), names.head_service(names.predictor(name, variant), 1)
    if told != made:
        path: Path = (*_PREDICTOR, "name") if variant else ("metadata", "name")
        yield (
            f"Workers are told HEAD_SVC={told}, and the Service is named {made}: they never find the head. "
            + ("Leave spec.predictor.name out." if variant else "Do not end the name in '-predictor'."),
            path,
        )


def _multi_node(source: Source, group: Group) -> Iterator[Told]:
    if source.release.recreates_workers:
        yield (
            (
                "v0.20.0 deletes the workers' Deployment and both headless Services as orphaned on every "
                "reconcile, and makes them again, for ever (kserve#6113). Use v0.19 for multi-node."
            ),
            _WORKER,
        )
    replicas = group.roles[0].replicas
    path: Path = (*_PREDICTOR, "minReplicas")
    if replicas == 0:
        yield "minReplicas 0 makes no head; the workers run and wait. Write 1.", path
    elif replicas > 1:
        yield (
            (
                f"minReplicas {replicas} makes {replicas} heads and workers for one; the others never form. "
                "Write 1 and use several InferenceServices."
            ),
            path,
        )
    annotation = (source.runtime["spec"].get("annotations") or {}).get(names.EXECUTOR)
    own = (source.service["metadata"].get("annotations") or {}).get(names.EXECUTOR)
    for value, where in (
        (annotation, "the ServingRuntime's spec.annotations"),
        (own, "the InferenceService"),
    ):
        if value is not None and group.executor == "ray" and group.nodes != group.pipeline_parallel:
            yield (
                (
                    f"{names.EXECUTOR}: {value} on {where} is taken as ray, so there are {group.nodes} nodes "
                    f"instead of {group.pipeline_parallel}. From v0.18 write exactly mp, in the "
                    "ServingRuntime's spec.annotations."
                ),
                ("metadata", "annotations", names.EXECUTOR) if value is own else _WORKER,
            )
            return


def _limits_only(source: Source) -> Iterator[Told]:
    """GPUs that stand under limits alone count as none and are overwritten."""
    if not source.release.counts_nodes_by_gpu_requests:
        return
    for role, path, container, count in _written(source):
        asked = container.get("resources") or {}
        limits, requests = asked.get("limits") or {}, asked.get("requests") or {}
        for resource in names.GPU_RESOURCES:
            if resource in limits and resource not in requests and limits[resource] != str(count):
                yield (
                    (
                        f"The {role} names {limits[resource]} {resource} under limits alone, which counts as "
                        f"none: it gets {count}. Write the same number under requests."
                    ),
                    path,
                )


def _written(source: Source) -> list[tuple[str, Path, Body, int]]:
    """Main containers as merged, before counts are written to them, with the count that each gets."""
    head, worker, counts = merged(source)
    model, workers = (*_PREDICTOR, "model", "resources"), (*_WORKER, "containers", 0, "resources")
    return [
        ("head", model, head["containers"][0], counts.head_gpus),
        ("worker", workers, worker["containers"][0], counts.worker_gpus),
    ]


def _pods(source: Source, group: Group, role: Role) -> Iterator[Told]:
    if group.refused:
        return
    uri = source.predictor["model"].get("storageUri", "")
    by_webhook = role.role == "worker" and uri.startswith("oci://") and source.release.refuses_oci_workers
    if by_webhook:
        yield (
            (
                "Before v0.17 KServe's pod webhook refuses every worker pod of an oci:// model: no container "
                "found with name kserve-container. Use a claim, or v0.17 or newer."
            ),
            (*_PREDICTOR, "model", "storageUri"),
        )
        return
    for text in role.refused:
        yield f"The API server refuses the {role.role}'s pods: {text}.", _PATHS[role.role]


def _path_of(text: str, group: Group) -> Path:
    if "the label app" in text or "its name" in text:
        return ("metadata", "name")
    return (
        _WORKER
        if any(role.role == "worker" and f" {role.deployment}:" in text for role in group.roles)
        else _PREDICTOR
    )

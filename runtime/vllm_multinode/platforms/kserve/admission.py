"""What KServe's webhooks refuse, in their own words and in their order, version by version.

A webhook answers with its first objection; these functions give all of them, the first one first.

Source: pkg/apis/serving/v1beta1/inference_service_validation.go and component.go,
pkg/webhook/admission/servingruntime/servingruntime_webhook.go, v0.14.1 to v0.20.0.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from vllm_multinode.contract import env
from vllm_multinode.contract.finding import Edit, Finding, Path
from vllm_multinode.platforms import gpus, names
from vllm_multinode.platforms.kserve.admission_runtime import runtime_priorities, runtime_spec
from vllm_multinode.platforms.kserve.admission_scaling import OTHER, replicas, scaling
from vllm_multinode.platforms.releases import Release

SERVICE_WEBHOOK: Final = "inferenceservice.kserve-webhook-server.validator"
RUNTIME_WEBHOOKS: Final = {
    "ServingRuntime": "servingruntime.kserve-webhook-server.validator",
    "ClusterServingRuntime": "clusterservingruntime.kserve-webhook-server.validator",
}
BLOCKED_ENV: Final = "PYTHONPATH"
_NAME: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_NAME_TEXT: Final = (
    'the InferenceService "%s" is invalid: a InferenceService name must consist of lower case alphanumeric '
    "characters or '-', and must start with alphabetical character. "
    '(e.g. "my-name" or "abc-123", regex used for validation is \'%s\')'
)
_PREDICTOR: Final[Path] = ("spec", "predictor")
_STRUCT_FIELDS: Final = (*names.FRAMEWORKS.values(), "Model")


def prefix(kind: str) -> str:
    """What the API server puts before a webhook's message for an object of this kind."""
    webhook = RUNTIME_WEBHOOKS.get(kind, SERVICE_WEBHOOK)
    return f'admission webhook "{webhook}" denied the request: '


def refusals_of_service(body: Mapping[str, Any], release: Release) -> list[Finding]:
    """Objections to creating an InferenceService, after KServe's defaulting; empty where it is accepted."""
    return list(_service(body, release))


def refusals_of_runtime(
    body: Mapping[str, Any], release: Release, existing: Sequence[Mapping[str, Any]] = ()
) -> list[Finding]:
    """Objections to creating a ServingRuntime or ClusterServingRuntime, or to updating one of the same name.

    Args:
        body: the runtime.
        release: of KServe or OpenShift AI.
        existing: the runtimes of its kind and namespace that are there already.
    """
    spec = body["spec"]
    if spec.get("disabled"):
        return []
    if body["kind"] == "ClusterServingRuntime" and not release.knows_cluster_runtimes:
        return []
    kind, name = body["kind"], body["metadata"]["name"]
    found = list(runtime_priorities(body, existing, release))
    if release.knows_worker_spec:
        before: Mapping[str, Any] = next(
            (one["spec"] for one in existing if one["metadata"]["name"] == name), {}
        )
        found += [
            replace(one, message=f"the {kind} {name} is invalid: {one.message}")
            for one in runtime_spec(spec, before, release)
        ]
    if release.refuses_python_path:
        worker = spec.get("workerSpec") or {}
        parts = (("spec",), spec.get("containers")), (("spec", "workerSpec"), worker.get("containers"))
        for path, containers in parts:
            found += [
                replace(one, message=f'the {kind} "{name}" is invalid: {one.message}')
                for one in _blocked(containers, (*path, "containers"))
            ]
    return found


def _service(body: Mapping[str, Any], release: Release) -> Iterator[Finding]:
    name = body["metadata"]["name"]
    annotations = body["metadata"].get("annotations") or {}
    predictor = body["spec"]["predictor"]
    if not re.fullmatch(_NAME, name):
        yield Finding(("metadata", "name"), _NAME_TEXT % (name, _NAME), rule="service-name")
    yield from _autoscaler_class(annotations, release)
    if release.refuses_python_path:
        for one in _blocked_of_service(predictor):
            yield replace(one, message=f'the InferenceService "{name}" is invalid: {one.message}')
    if release.knows_worker_spec and predictor.get("workerSpec") is not None:
        yield from _multi_node(name, annotations, predictor, release)
    yield from _storage_in_transformer(predictor)
    if release.knows_storage_uris:
        for implementation in (*names.FRAMEWORKS, "model"):
            if (predictor.get(implementation) or {}).get("name"):
                message = "the 'name' field is not allowed in standard predictor"
                yield Finding((*_PREDICTOR, implementation, "name"), message, rule="model-name")
        yield from _storage_uris(predictor)
    yield from _one_implementation(predictor, release)
    yield from replicas(predictor)
    yield from scaling(predictor, annotations, release)
    if release.knows_variants:
        yield from _canaries(body, annotations)


def _autoscaler_class(annotations: Mapping[str, str], release: Release) -> Iterator[Finding]:
    value = annotations.get(names.AUTOSCALER_CLASS)
    if value is not None and value not in release.autoscaler_classes:
        message = f"[{value}] is not a supported autoscaler class type"
        yield _autoscaler(message, release)


def _blocked_of_service(predictor: Mapping[str, Any]) -> Iterator[Finding]:
    worker = predictor.get("workerSpec") or {}
    for field in ("containers", "initContainers"):
        yield from _blocked(predictor.get(field), (*_PREDICTOR, field))
    for implementation in ("model", *names.FRAMEWORKS):
        if predictor.get(implementation):
            for one in _blocked([predictor[implementation]], ()):
                yield replace(one, steps=(*_PREDICTOR, implementation, *one.steps[1:]))
            break
    for field in ("containers", "initContainers"):
        yield from _blocked(worker.get(field), (*_PREDICTOR, "workerSpec", field))


def _blocked(containers: Sequence[Mapping[str, Any]] | None, path: Path) -> Iterator[Finding]:
    for index, container in enumerate(containers or []):
        place = _env_place(container, BLOCKED_ENV)
        if place is not None:
            name = container.get("name") or ""
            message = f'setting {BLOCKED_ENV} in container "{name}" is not allowed for security reasons'
            yield Finding((*path, index, "env", place), message, rule="python-path")


def _env_place(container: Mapping[str, Any], variable: str) -> int | None:
    for index, one in enumerate(container.get("env") or []):
        if one.get("name") == variable:
            return index
    return None


def _multi_node(
    name: str, annotations: Mapping[str, str], predictor: Mapping[str, Any], release: Release
) -> Iterator[Finding]:
    worker = predictor["workerSpec"]
    invalid = f'the InferenceService "{name}" is invalid: '
    path: Path = (*_PREDICTOR, "workerSpec")
    containers = worker.get("containers") or []
    if len(containers) > 1:
        message = f"{invalid}setting multiple containers in workerSpec is not allowed"
        yield Finding((*path, "containers"), message, rule="worker-containers")
    if predictor.get("model") is not None:
        yield from _multi_node_model(invalid, annotations, predictor["model"], release)
    sizes = (
        ("PipelineParallelSize", "pipelineParallelSize", release.least_pipeline_size, "pipeline-size"),
        ("TensorParallelSize", "tensorParallelSize", 1, "tensor-size"),
    )
    for shown, field, smallest, rule in sizes:
        size = worker.get(field)
        if size is not None and size < smallest:
            message = f"{invalid}WorkerSpec.{shown} cannot be less than {smallest}({size})"
            yield Finding((*path, field), message, rule=rule)
    for index, container in enumerate(containers):
        yield from _gpu_types(
            invalid, container, _gpu_marks(annotations, release), (*path, "containers", index)
        )


def _multi_node_model(
    invalid: str, annotations: Mapping[str, str], model: Mapping[str, Any], release: Release
) -> Iterator[Finding]:
    path: Path = (*_PREDICTOR, "model")
    for variable in (env.PIPELINE_PARALLEL_SIZE, env.TENSOR_PARALLEL_SIZE):
        place = _env_place(model, variable)
        if place is not None:
            message = f"{invalid}setting {variable} in environment variables is not allowed"
            yield Finding((*path, "env", place), message, rule="size-variables")
    if not release.knows_gpu_types_annotation:
        yield from _gpu_annotation(invalid, annotations)
    yield from _gpu_types(invalid, model, _gpu_marks(annotations, release), path)
    uri = model.get("storageUri")
    if uri is None:
        yield Finding(path, f"{invalid}StorageURI must be set for multinode enabled", rule="storage-missing")
    else:
        protocol = uri.split("://")[0]
        if protocol not in release.storage_schemes:
            listed = " and ".join(f"'{one}'" for one in release.storage_schemes)
            message = f"{invalid}Multinode only supports {listed} Storage Protocol({protocol})"
            yield Finding((*path, "storageUri"), message, rule="storage-scheme")
    wanted = release.autoscaler_class
    given = annotations.get(names.AUTOSCALER_CLASS, "")
    if given != wanted:
        message = f"{invalid}Multinode only supports '{wanted}' autoscaler({given})"
        yield _autoscaler(message, release)


def _autoscaler(message: str, release: Release) -> Finding:
    path: Path = ("metadata", "annotations", names.AUTOSCALER_CLASS)
    hint = f"Set the annotation {names.AUTOSCALER_CLASS} to {release.autoscaler_class}."
    return Finding(path, message, hint, (Edit(path, release.autoscaler_class),), rule="autoscaler-class")


def _gpu_marks(annotations: Mapping[str, str], release: Release) -> Mapping[str, str]:
    return annotations if release.knows_gpu_types_annotation else {}


def _gpu_annotation(invalid: str, annotations: Mapping[str, str]) -> Iterator[Finding]:
    """An annotation whose form is checked by releases that make nothing of it."""
    try:
        gpus.allowed(annotations)
    except gpus.GpuTypesError:
        message = f"{invalid}invalid format for {names.GPU_TYPES} annotation: must be a valid JSON array"
        yield Finding(("metadata", "annotations", names.GPU_TYPES), message, rule="gpu-types-annotation")


def _gpu_types(
    invalid: str, container: Mapping[str, Any], annotations: Mapping[str, str], path: Path
) -> Iterator[Finding]:
    try:
        found = gpus.unknown(container, annotations)
    except gpus.GpuTypesError as error:
        yield Finding(("metadata", "annotations", names.GPU_TYPES), str(error), rule="gpu-types-annotation")
        return
    if found:
        message = (
            f"{invalid}Unknown GPU resource type. Set '{names.GPU_TYPES}' annotation to use custom gpu "
            "resource type"
        )
        part = "limits" if found[0] in (container["resources"].get("limits") or {}) else "requests"
        yield Finding((*path, "resources", part, found[0]), message, rule="gpu-type-unknown")


def _storage_in_transformer(predictor: Mapping[str, Any]) -> Iterator[Finding]:
    for index, container in enumerate(predictor.get("containers") or []):
        if container["name"] == names.TRANSFORMER_CONTAINER:
            place = _env_place(container, "STORAGE_URI")
            if place is not None:
                path = (*_PREDICTOR, "containers", index, "env", place)
                message = "storage uri should not be specified in transformer container"
                yield Finding(path, message, rule=OTHER)
            return


def _storage_uris(predictor: Mapping[str, Any]) -> Iterator[Finding]:
    uris = predictor.get("storageUris")
    if uris is None:
        return
    path: Path = (*_PREDICTOR, "storageUris")
    if (predictor.get("model") or {}).get("storageUri") is not None:
        yield Finding(path, "Setting both StorageURI and StorageURIs is not supported.", rule="storage-twice")
    for index, one in enumerate(uris):
        mount = one.get("mountPath", "/mnt/models")
        message = ""
        if mount == "/":
            message = "storage path cannot be empty"
        elif not mount.startswith("/"):
            message = f"storage path must be absolute: {mount}"
        elif ".." in mount:
            message = f"storage path cannot contain '..' for security reasons: {mount}"
        if message:
            yield Finding((*path, index, "mountPath"), message, rule=OTHER)


def _one_implementation(predictor: Mapping[str, Any], release: Release) -> Iterator[Finding]:
    containers = predictor.get("containers") or []
    given = [one for one in (*names.FRAMEWORKS, "model") if predictor.get(one) is not None]
    count = len(given) + sum(one["name"] == names.HEAD_CONTAINER for one in containers)
    if count == 0 and containers:
        count = 1  # without a kserve-container the first container is the predictor
    if count == 1:
        return
    fields = [*_STRUCT_FIELDS]
    if release.knows_storage_uris:
        fields.append("StorageUris")
    if release.knows_storage_container_name:
        fields.append("StorageContainerName")
    if release.knows_worker_spec:
        fields.append("WorkerSpec")
    if release.knows_variants:
        fields.insert(0, "Name")
    fields.append("PodSpec")
    message = f"exactly one of [{', '.join(fields)}] must be specified in PredictorSpec"
    yield Finding(_PREDICTOR, message, rule="one-implementation")


def _canaries(body: Mapping[str, Any], annotations: Mapping[str, str]) -> Iterator[Finding]:
    canaries = body["spec"].get("canary") or []
    if canaries and annotations.get(names.DEPLOYMENT_MODE) != "Standard":
        yield _canary("canary is only supported in Standard deployment mode", ("spec", "canary"))
    for index, canary in enumerate(canaries):
        predictor = canary.get("predictor") or {}
        path: Path = ("spec", "canary", index, "predictor")
        name = predictor.get("name", "")
        if not name:
            yield _canary(f"canary[{index}] predictor.name is required", path)
        elif name == body["spec"]["predictor"].get("name", ""):
            message = f'canary predictor.name "{name}" conflicts with stable predictor name'
            yield _canary(message, (*path, "name"))
        if predictor.get("workerSpec") is not None:
            message = f'canary "{name}" must not set workerSpec (multi-node is not yet supported for canary)'
            yield _canary(message, (*path, "workerSpec"))


def _canary(message: str, path: Path) -> Finding:
    return Finding(path, message, rule="canary")

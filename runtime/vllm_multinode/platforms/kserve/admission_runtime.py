"""The part of admission that looks at a ServingRuntime's spec."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vllm_multinode.contract import env
from vllm_multinode.contract.finding import Finding, Path
from vllm_multinode.platforms import gpus, names
from vllm_multinode.platforms.releases import Release

_WORKER: Path = ("spec", "workerSpec")


def runtime_spec(spec: Mapping[str, Any], before: Mapping[str, Any], release: Release) -> Iterator[Finding]:
    """Objections to a runtime's multi-node part, given the spec that it replaces."""
    worker = spec.get("workerSpec")
    if worker is None:
        if before.get("workerSpec") is not None:
            message = "removing workerSpec where it already exists is not allowed"
            yield Finding(("spec",), message, rule="worker-spec-removed")
        return
    containers = worker.get("containers") or []
    if len(containers) > 1:
        message = "setting multiple containers in workerSpec is not allowed"
        yield Finding((*_WORKER, "containers"), message, rule="worker-containers")
    marks = (spec.get("annotations") or {}) if release.knows_gpu_types_annotation else {}
    yield from _head_container(spec, marks)
    if containers and containers[0]["name"] == names.WORKER_CONTAINER:
        yield from _gpu_types(containers[0], marks, (*_WORKER, "containers", 0))
    yield from _sizes(worker, release)


def _head_container(spec: Mapping[str, Any], marks: Mapping[str, str]) -> Iterator[Finding]:
    for index, container in enumerate(spec["containers"]):
        if container["name"] != names.HEAD_CONTAINER:
            continue
        for variable in (env.PIPELINE_PARALLEL_SIZE, env.TENSOR_PARALLEL_SIZE):
            for place, one in enumerate(container.get("env") or []):
                if one["name"] == variable:
                    path = ("spec", "containers", index, "env", place)
                    message = f"setting {variable} in environment variables is not allowed"
                    yield Finding(path, message, rule="size-variables")
                    break
        yield from _gpu_types(container, marks, ("spec", "containers", index))


def _gpu_types(container: Mapping[str, Any], marks: Mapping[str, str], path: Path) -> Iterator[Finding]:
    try:
        found = gpus.unknown(container, marks)
    except gpus.GpuTypesError as error:
        yield Finding(("spec", "annotations", names.GPU_TYPES), str(error), rule="gpu-types-annotation")
        return
    if found:
        part = "limits" if found[0] in (container["resources"].get("limits") or {}) else "requests"
        message = f"unknown GPU resource type in a container({container['name']})"
        yield Finding((*path, "resources", part, found[0]), message, rule="gpu-type-unknown")


def _sizes(worker: Mapping[str, Any], release: Release) -> Iterator[Finding]:
    pipeline, tensor = worker.get("pipelineParallelSize"), worker.get("tensorParallelSize")
    if release.runtime_must_name_sizes:
        if pipeline is None:
            message = "pipelineParallelSize must be set when WorkerSpec is set"
            yield Finding(_WORKER, message, rule="runtime-sizes")
        if tensor is None:
            message = "tensorParallelSize must be set when WorkerSpec is set"
            yield Finding(_WORKER, message, rule="runtime-sizes")
        if pipeline is not None and pipeline < 2:
            message = (
                f"the WorkerSpec.PipelineParallelSize cannot be less than 2 ({pipeline}) because "
                "WorkerSpec.PipelineParallelSize should include at least 1 head node and 1 worker node"
            )
            yield Finding((*_WORKER, "pipelineParallelSize"), message, rule="pipeline-size")
    elif pipeline is not None and pipeline < 1:
        message = f"the WorkerSpec.PipelineParallelSize cannot be less than 1({pipeline})"
        yield Finding((*_WORKER, "pipelineParallelSize"), message, rule="pipeline-size")
    if tensor is not None and tensor < 1:
        message = f"the WorkerSpec.TensorParallelSize cannot be less than 1({tensor})"
        yield Finding((*_WORKER, "tensorParallelSize"), message, rule="tensor-size")


def runtime_priorities(
    body: Mapping[str, Any], existing: Sequence[Mapping[str, Any]], release: Release
) -> Iterator[Finding]:
    """Objections to a runtime's priorities: within itself, and against those that are there already."""
    if not existing and not release.checks_lone_priorities:
        return  # KServe compares only while it walks over the existing ones
    kind, name = body["kind"], body["metadata"]["name"]
    seen: dict[str, int | None] = {}
    for index, one in _formats(body):
        priority = one.get("priority")
        first = seen.setdefault(one["name"], priority)
        if first is not None and priority is not None and first != priority:
            message = (
                f"different priorities assigned for the model format {one['name']} under the "
                f"{kind.lower()} {name}"
            )
            yield Finding(_priority(index), message, rule="runtime-priority")
    for other in existing:
        if other["metadata"]["name"] != name:
            yield from _against(body, other)


def _against(body: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Finding]:
    spec, there = body["spec"], other["spec"]
    if there.get("disabled") or bool(spec.get("multiModel")) != bool(there.get("multiModel")):
        return
    if not set(spec.get("protocolVersions") or []) & set(there.get("protocolVersions") or []):
        return
    for index, mine in _formats(body):
        for _, theirs in _formats(other):
            same = mine["name"].lower() == theirs["name"].lower() and mine.get("version") == theirs.get(
                "version"
            )
            if same and mine.get("priority") is not None and mine["priority"] == theirs.get("priority"):
                both = f"{other['metadata']['name']} and {body['metadata']['name']}{_in_namespace(body)}"
                message = (
                    f"same priority assigned for the model format {mine['name']} in the "
                    f"{body['kind'].lower()}s {both}"
                )
                yield Finding(_priority(index), message, rule="runtime-priority")


def _priority(index: int) -> Path:
    return ("spec", "supportedModelFormats", index, "priority")


def _in_namespace(body: Mapping[str, Any]) -> str:
    if body["kind"] != "ServingRuntime":
        return ""
    return f" in namespace {body['metadata'].get('namespace', '')}".rstrip()


def _formats(body: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """The model formats that may be selected automatically, with their place."""
    formats = body["spec"].get("supportedModelFormats") or []
    return [(index, one) for index, one in enumerate(formats) if one.get("autoSelect")]

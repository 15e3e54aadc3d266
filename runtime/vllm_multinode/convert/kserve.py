"""InferenceServices of KServe and OpenShift AI, with the runtime, claim and download Pod beside them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm_multinode.contract.kserve import CLAIM_SCHEME, claim_and_path
from vllm_multinode.convert import engine_arguments, environment, hardware, pods
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.engine_arguments import shown
from vllm_multinode.convert.kserve_companions import take_claim, take_companion
from vllm_multinode.convert.lws import take_metadata
from vllm_multinode.convert.record import Path, Record
from vllm_multinode.k8s.access import mapping
from vllm_multinode.platforms import names
from vllm_multinode.platforms.simulation import Body

GROUP: Final = "serving.kserve.io/"
_PREDICTOR: Final[Path] = ("spec", "predictor")
_MODEL: Final[Path] = (*_PREDICTOR, "model")
_WORKER: Final[Path] = (*_PREDICTOR, "workerSpec")
_RENDERED: Final = "Rendered for the platform that is named."
_ADAPTER: Final[Mapping[str, str]] = {
    "MAX_SEQUENCE_LENGTH": "max-model-len",
    "MAX_BATCH_SIZE": "max-num-seqs",
    "DTYPE_STR": "dtype",
    "GPU_MEMORY_UTILIZATION": "gpu-memory-utilization",
    "MODEL_NAME": "served-model-name",
}
"""Variables of the adapter that older runtimes carried -> vLLM's option."""
_PREDICTOR_FIELDS: Final[Mapping[str, str]] = {
    "minReplicas": "KServe has one head for each group; set replicas for more groups.",
    "maxReplicas": "KServe does not scale multi-node services.",
    "scaleTarget": "KServe does not scale multi-node services.",
    "scaleMetric": "KServe does not scale multi-node services.",
    "autoScaling": "KServe does not scale multi-node services.",
    "containerConcurrency": "vLLM queues requests; see max-num-seqs.",
    "canaryTrafficPercent": "Raw deployments have no canary.",
    "batcher": "vLLM batches by itself.",
    "logger": "Raw deployments over several nodes have no agent.",
    "timeout": "vLLM has no request timeout.",
}
_OTHER_FORMATS: Final = frozenset(
    {
        "lightgbm",
        "mlflow",
        "mleap",
        "onnx",
        "openvino_ir",
        "paddle",
        "pmml",
        "sklearn",
        "tensorflow",
        "tensorrt",
        "triton",
        "xgboost",
    }
)
"""Model formats of KServe that no engine for language models serves."""
_MODEL_FIELDS: Final[Mapping[str, str]] = {
    "modelFormat": _RENDERED,
    "runtime": "The launcher's runtime replaces it.",
    "protocolVersion": _RENDERED,
    "name": "KServe expects its own names.",
    "image": pods.IMAGE,
    "ports": "KServe's Services define the ports.",
    "startupProbe": pods.PROBES,
    "readinessProbe": pods.PROBES,
    "livenessProbe": pods.PROBES,
}


def is_kind(body: Mapping[str, Any]) -> bool:
    """Whether a document is an InferenceService."""
    return str(body.get("apiVersion", "")).startswith(GROUP) and body.get("kind") == "InferenceService"


def convert(record: Record, others: Sequence[Record], known: Mapping[str, Body]) -> list[Draft]:
    """The service of an InferenceService, with what the documents beside it say of it.

    Args:
        record: of the InferenceService.
        others: every document of the source.
        known: ServingRuntimes that need not be among the documents, by name.
    """
    if not record.has_version(f"{GROUP}v1beta1"):
        return []
    draft = Draft(str(record.get("metadata", "name") or "model"))
    if record.get("spec", "transformer") is not None or record.get("spec", "explainer") is not None:
        part = "transformer" if record.get("spec", "transformer") is not None else "explainer"
        record.not_carried(("spec", part), "It runs in front of the model; keep it as a separate service.")
    if record.get(*_MODEL) is None:
        why = "Its predictor has no model: name the runtime and the weights there."
        record.refused(_PREDICTOR if record.get(*_PREDICTOR) is not None else ("spec",), why)
        return []
    model_format = record.get(*_MODEL, "modelFormat", "name")
    if str(model_format).lower() in _OTHER_FORMATS:
        record.refused((*_MODEL, "modelFormat", "name"), f"vLLM cannot serve {model_format}.")
        return []
    _metadata(record, draft)
    runtime = _runtime_of(record, others)
    if runtime is not None:
        _take_runtime(runtime, draft)
    _weights(record, draft, others)
    _serving(record, draft)
    _sizes(record, draft)
    _sizes_of_known(draft, known.get(str(record.get(*_MODEL, "runtime"))))
    record.replace(
        _PREDICTOR, dict.fromkeys(("enableServiceLinks", "automountServiceAccountToken"), _RENDERED)
    )
    record.drop(_PREDICTOR, _PREDICTOR_FIELDS)
    for other in others:
        take_companion(other, draft)
    return [draft]


def _metadata(record: Record, draft: Draft) -> None:
    take_metadata(record, draft)
    for field in ("labels", "annotations"):
        for key in list(draft.fields.get(field, {})):
            prefix = str(key).partition("/")[0]
            steers = any(
                one in prefix for one in ("kserve.io", "opendatahub.io", "openshift.io", "knative.dev")
            )
            if not steers and prefix != "app.kubernetes.io":
                continue
            del draft.fields[field][key]
            path: Path = ("metadata", field, key)
            if key in (names.DEPLOYMENT_MODE, names.AUTOSCALER_CLASS) or prefix == "app.kubernetes.io":
                record.changed(path, "", _RENDERED)
            else:
                record.not_carried(
                    path, "It configures the platform; set it under annotations or labels if you need it."
                )
        if not draft.fields.get(field, True):
            del draft.fields[field]


def _runtime_of(record: Record, others: Sequence[Record]) -> Record | None:
    name = record.get(*_MODEL, "runtime")
    runtimes = [one for one in others if one.body.get("kind") in ("ServingRuntime", "ClusterServingRuntime")]
    return next((one for one in runtimes if one.get("metadata", "name") == name), None)


def _take_runtime(runtime: Record, draft: Draft) -> None:
    if runtime.is_answered(("kind",)):
        return
    for field in ("apiVersion", "kind", "metadata", "spec"):
        runtime.changed((field,), "", "The launcher's runtime replaces it.")
    for index, container in enumerate(runtime.list("spec", "containers")):
        if isinstance(container, Mapping) and container.get("name") == names.HEAD_CONTAINER:
            _container(runtime, draft, ("spec", "containers", index))
    for size, target in (("tensorParallelSize", "tensor"), ("pipelineParallelSize", "pipeline")):
        _size(runtime, draft, ("spec", "workerSpec", size), f"parallelism.{target}")
    for index, _ in enumerate(runtime.list("spec", "volumes")):
        path: Path = ("spec", "volumes", index)
        limit = runtime.get(*path, "emptyDir", "sizeLimit")
        if limit is not None and runtime.get(*path, "emptyDir", "medium") == "Memory":
            draft.set("sharedMemory", limit)
            runtime.carried(path, "sharedMemory")


def _sizes_of_known(draft: Draft, runtime: Body | None) -> None:
    """The sizes that a runtime of the platform has, where nothing else says them."""
    worker = mapping(runtime, "spec", "workerSpec")
    for size, target in (("tensorParallelSize", "tensor"), ("pipelineParallelSize", "pipeline")):
        if size in worker and draft.get(f"parallelism.{target}") is None:
            draft.set(f"parallelism.{target}", worker[size])


def _container(record: Record, draft: Draft, base: Path) -> None:
    """The arguments and variables of a runtime's or service's container."""
    _adapter(record, draft, (*base, "env"))
    variables = environment.values(record.get(*base, "env"))
    words = [str(text) for part in ("command", "args") for text in record.list(*base, part)]
    if record.get(*base, "command") is None or engine_arguments.command_of(words) is not None:
        pods.take_command(record, draft, base, variables)
    else:
        record.replace(base, {"command": engine_arguments.NODES_WHY, "args": engine_arguments.NODES_WHY})
    if record.get(*base, "resources") is not None:
        hardware.take_resources(record, draft, (*base, "resources"))


def _adapter(record: Record, draft: Draft, base: Path) -> None:
    for index, item in enumerate(record.list(*base)):
        name = str(item.get("name")) if isinstance(item, Mapping) else ""
        path = (*base, index)
        if name in _ADAPTER and item.get("value") is not None:
            _adapter_option(record, draft, path, _ADAPTER[name], item["value"])
        elif name.startswith("MULTINODE_"):
            record.changed(path, "", _RENDERED)
        elif isinstance(item, Mapping) and isinstance(item.get("valueFrom"), Mapping):
            environment.take_reference(record, draft, name, item["valueFrom"], path)
        elif isinstance(item, Mapping):
            environment.take(record, draft, name, item.get("value", ""), path)


def _adapter_option(record: Record, draft: Draft, path: Path, option: str, value: Any) -> None:
    scratch = Record({option: value}, record.label)
    engine_arguments.from_mapping(scratch, draft, (), {option: value})
    row = next(scratch.rows())
    why = f"The variable of an adapter; vLLM's option is --{option}."
    record.answer(path, "changed" if row.status == "carried" else row.status, row.target_path, row.why or why)


def _weights(record: Record, draft: Draft, others: Sequence[Record]) -> None:
    path = (*_MODEL, "storageUri")
    uri = record.get(*path)
    if not isinstance(uri, str):
        storage = (*_MODEL, "storage")
        if record.get(*storage) is not None:
            record.not_carried(
                storage, "Write the address as model.source, and its Secret as model.sourceSecret."
            )
            draft.todo("Say where the model comes from, as model.source: it was named by a storage key.")
        return
    take_uri(record, draft, path, uri)
    if draft.get("model.claim"):
        take_claim(draft, draft.get("model.claim"), others)


def take_uri(record: Record, draft: Draft, path: Path, uri: str) -> None:
    """Take the address of a model as KServe's kinds write it."""
    if uri.startswith(CLAIM_SCHEME):
        claim, folder = claim_and_path(uri)
        draft.set("model.claim", claim)
        if folder.strip("/"):
            draft.set("model.path", folder.strip("/"))
        record.changed(path, "model.claim", "The claim, and the folder in it as model.path.")
    elif uri.startswith("oci://"):
        draft.set("model.oci", uri)
        record.carried(path, "model.oci")
    else:
        record.answer(path, *engine_arguments.model(draft, uri))


def _serving(record: Record, draft: Draft) -> None:
    _container(record, draft, _MODEL)
    record.replace(_MODEL, _MODEL_FIELDS)
    hardware.take_placement(record, draft, _PREDICTOR)
    record.replace(_MODEL, {"volumeMounts": _RENDERED})
    for field in ("serviceAccountName", "imagePullSecrets"):
        value = record.get(*_PREDICTOR, field)
        if isinstance(value, str) and value:
            draft.set(field, value)
            record.carried((*_PREDICTOR, field), field)
        elif isinstance(value, list) and value:
            draft.set(field, [str(one.get("name")) for one in value if isinstance(one, Mapping)])
            record.carried((*_PREDICTOR, field), field)
    strategy = record.get(*_PREDICTOR, "deploymentStrategy", "type")
    if strategy in ("Recreate", "RollingUpdate"):
        draft.set("deploymentStrategy", strategy)
        record.carried((*_PREDICTOR, "deploymentStrategy", "type"), "deploymentStrategy")
    for index, volume in enumerate(record.list(*_PREDICTOR, "volumes")):
        path = (*_PREDICTOR, "volumes", index)
        size = record.get(*path, "emptyDir", "sizeLimit")
        if isinstance(volume, Mapping) and record.get(*path, "emptyDir", "medium") == "Memory" and size:
            draft.set("sharedMemory", size)
            record.carried(path, "sharedMemory")
        elif isinstance(volume, Mapping) and volume.get("name") == "token":
            record.changed(path, "tokenSecret", _RENDERED)
        else:
            record.not_carried(
                path, "The model and /dev/shm are mounted; add other volumes with a kustomize patch."
            )


def _sizes(record: Record, draft: Draft) -> None:
    if record.get(*_WORKER) is None:
        draft.notes.append("It served on one node: the workerSpec is derived from the sizes.")
        return
    for size, target in (("tensorParallelSize", "tensor"), ("pipelineParallelSize", "pipeline")):
        _size(record, draft, (*_WORKER, size), f"parallelism.{target}")
    if not record.get(*_WORKER):
        record.changed(_WORKER, "parallelism", "An empty workerSpec takes its sizes from the runtime.")
    scratch = Draft(draft.name)
    for index, _ in enumerate(record.list(*_WORKER, "containers")):
        base = (*_WORKER, "containers", index)
        record.changed(base, "", "Workers run what the head runs.")
        hardware.take_resources(record, scratch, (*base, "resources"))
    per_node = scratch.get("accelerator.perNode")
    if per_node and draft.get("accelerator.perNode") is None:
        draft.set("accelerator.perNode", per_node)
    for field in ("nodeSelector", "tolerations", "affinity", "volumes", "enableServiceLinks"):
        path = (*_WORKER, field)
        if record.get(*path) is not None and record.get(*path) == record.get(*_PREDICTOR, field):
            record.changed(path, f"placement.{field}", "As the head's.")
    other = record.get(*_WORKER)
    hardware.take_placement(record, scratch, _WORKER)
    worker = {
        k: v
        for k, v in scratch.fields.get("placement", {}).items()
        if v != (draft.get("placement") or {}).get(k)
    }
    if worker and isinstance(other, Mapping):
        draft.set("placement.worker", worker)


def _size(record: Record, draft: Draft, path: Path, target: str) -> None:
    value = record.count(*path)
    if value:
        draft.set(target, value)
        record.carried(path, target)
    elif record.get(*path) is not None:
        record.not_carried(path, f"{shown(record.get(*path))} is not a size.")

"""An InferenceService after KServe's defaulting webhook, and a ServingRuntime after the schema's pruning."""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.k8s.merge import as_go_writes
from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body

_STANDARD: Final = {"RawDeployment": "Standard", "Serverless": "Knative"}
_V2_FORMATS: Final = frozenset({"triton", "onnx", "huggingface"})

# What a ServingRuntime carries besides its containers; every other pod field is pruned by the schema.
RUNTIME_POD_FIELDS: Final = frozenset(
    {
        "containers",
        "volumes",
        "imagePullSecrets",
        "tolerations",
        "affinity",
        "nodeSelector",
        "labels",
        "annotations",
    }
)
RUNTIME_FIELDS: Final = RUNTIME_POD_FIELDS | {
    "supportedModelFormats",
    "multiModel",
    "disabled",
    "protocolVersions",
    "grpcEndpoint",
    "grpcDataEndpoint",
    "httpDataEndpoint",
    "replicas",
    "storageHelper",
    "builtInAdapter",
    "workerSpec",
}
WORKER_FIELDS: Final = RUNTIME_POD_FIELDS | {"pipelineParallelSize", "tensorParallelSize"}

# k8s.io/api/core/v1 PodSpec, which an InferenceService takes whole.
POD_FIELDS: Final = frozenset(
    {
        "volumes",
        "initContainers",
        "containers",
        "ephemeralContainers",
        "restartPolicy",
        "terminationGracePeriodSeconds",
        "activeDeadlineSeconds",
        "dnsPolicy",
        "nodeSelector",
        "serviceAccountName",
        "serviceAccount",
        "automountServiceAccountToken",
        "nodeName",
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "shareProcessNamespace",
        "securityContext",
        "imagePullSecrets",
        "hostname",
        "subdomain",
        "affinity",
        "schedulerName",
        "tolerations",
        "hostAliases",
        "priorityClassName",
        "priority",
        "dnsConfig",
        "readinessGates",
        "runtimeClassName",
        "enableServiceLinks",
        "preemptionPolicy",
        "overhead",
        "topologySpreadConstraints",
        "setHostnameAsFQDN",
        "os",
        "hostUsers",
        "schedulingGates",
        "resourceClaims",
        "resources",
        "hostnameOverride",
    }
)
CONTAINER_FIELDS: Final = frozenset(
    {
        "name",
        "image",
        "command",
        "args",
        "workingDir",
        "ports",
        "envFrom",
        "env",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "volumeMounts",
        "volumeDevices",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "imagePullPolicy",
        "securityContext",
        "stdin",
        "stdinOnce",
        "tty",
    }
)


def runtime_pod_fields(release: Release) -> frozenset[str]:
    """Pod fields, containers included, that a ServingRuntime and its workerSpec carry."""
    return RUNTIME_POD_FIELDS | release.more_runtime_fields


def defaulted(body: Mapping[str, Any], release: Release) -> Body:
    """The InferenceService after KServe's defaulting webhook, without the fields that the schema prunes."""
    made: Body = as_go_writes(body)
    metadata, spec = dict(made["metadata"]), dict(made["spec"])
    annotations = dict(metadata.get("annotations") or {})
    predictor = _with_model(dict(spec["predictor"]))
    mode = annotations.get(names.DEPLOYMENT_MODE)
    if mode is None:
        annotations[names.DEPLOYMENT_MODE] = release.raw_mode
    elif release.renames_modes:
        annotations[names.DEPLOYMENT_MODE] = _STANDARD.get(mode, mode)
    model_format = ((predictor.get("model") or {}).get("modelFormat") or {}).get("name")
    if model_format:
        predictor["model"] = _with_protocol(predictor["model"], model_format, release)
        if release.annotates_model_format:
            annotations.setdefault(names.MODEL_FORMAT, model_format)
    if not release.knows_worker_spec:
        predictor.pop("workerSpec", None)
    elif isinstance(body["spec"]["predictor"].get("workerSpec"), Mapping):
        predictor["workerSpec"] = dict(predictor.get("workerSpec") or {})
    metadata["annotations"] = annotations
    spec["predictor"] = predictor
    return {**made, "metadata": metadata, "spec": spec}


def runtime_spec(body: Mapping[str, Any], release: Release) -> Body:
    """A runtime's spec without the fields that the schema prunes."""
    extra = release.more_runtime_fields
    cleaned: Body = as_go_writes(body["spec"])
    spec = {key: value for key, value in cleaned.items() if key in RUNTIME_FIELDS | extra}
    spec.setdefault("containers", [])
    worker = spec.pop("workerSpec", None)
    if worker is not None and release.knows_worker_spec:
        spec["workerSpec"] = {key: value for key, value in worker.items() if key in WORKER_FIELDS | extra}
    return spec


def pod_part(component: Mapping[str, Any]) -> Body:
    """The pod's fields of spec.predictor or of its workerSpec."""
    return {key: value for key, value in component.items() if key in POD_FIELDS}


def container_part(model: Mapping[str, Any]) -> Body:
    """The container's fields of spec.predictor.model."""
    return {key: value for key, value in model.items() if key in CONTAINER_FIELDS}


def _with_model(predictor: Body) -> Body:
    for framework in names.FRAMEWORKS:
        given = predictor.pop(framework, None)
        if given is not None and predictor.get("model") is None:
            model = {**given, "modelFormat": {"name": framework}}
            if framework in _V2_FORMATS:
                model.setdefault("protocolVersion", "v2")
            predictor["model"] = model
    return predictor


def _with_protocol(model: Body, model_format: str, release: Release) -> Body:
    if model_format in release.v2_formats and "protocolVersion" not in model:
        return {**model, "protocolVersion": "v2"}
    return model

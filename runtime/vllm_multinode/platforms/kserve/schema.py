"""Types of the fields that a preview reads; what the API server rejects by its schema ends here."""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s import quantity

# A schema is a type, the parser of quantities, a mapping of known fields ("*" for any other, "!" for the
# required ones), or a list of one schema for each item.
_QUANTITY: Final = quantity.parse
_TEXTS: Final = {"*": str}
_RESOURCES: Final = {"limits": {"*": _QUANTITY}, "requests": {"*": _QUANTITY}, "*": object}
_CONTAINER: Final[Mapping[str, Any]] = {
    "!": ("name",),
    "name": str,
    "image": str,
    "args": [str],
    "command": [str],
    "env": [{"!": ("name",), "name": str, "value": str, "valueFrom": {"*": object}, "*": object}],
    "ports": [{"!": ("containerPort",), "containerPort": int, "name": str, "protocol": str, "*": object}],
    "resources": _RESOURCES,
    "volumeMounts": [{"!": ("mountPath", "name"), "mountPath": str, "name": str, "*": object}],
    "volumeDevices": [{"!": ("devicePath",), "devicePath": str, "*": object}],
    "readinessProbe": {"*": object},
    "securityContext": {"*": object},
    "*": object,
}
_POD: Final[Mapping[str, Any]] = {
    "containers": [_CONTAINER],
    "initContainers": [_CONTAINER],
    "volumes": [
        {"!": ("name",), "name": str, "emptyDir": {"sizeLimit": _QUANTITY, "*": object}, "*": object}
    ],
    "imagePullSecrets": [{"!": ("name",), "name": str, "*": object}],
    "hostAliases": [{"!": ("ip",), "ip": str, "*": object}],
    "topologySpreadConstraints": [{"!": ("topologyKey",), "topologyKey": str, "*": object}],
    "schedulingGates": [{"!": ("name",), "name": str, "*": object}],
    "resourceClaims": [{"!": ("name",), "name": str, "*": object}],
    "tolerations": [{"*": object}],
    "nodeSelector": _TEXTS,
    "affinity": {"*": object},
    "securityContext": {"*": object},
    "labels": _TEXTS,
    "annotations": _TEXTS,
    "*": object,
}
_WORKER: Final = {**_POD, "pipelineParallelSize": int, "tensorParallelSize": int}
_METADATA: Final = {
    "!": ("name",),
    "name": str,
    "namespace": str,
    "labels": _TEXTS,
    "annotations": _TEXTS,
    "*": object,
}
_FORMATS: Final = [
    {"!": ("name",), "name": str, "version": str, "autoSelect": bool, "priority": int, "*": object}
]
_RUNTIME: Final = {
    "!": ("metadata", "spec"),
    "metadata": _METADATA,
    "spec": {
        **_POD,
        "!": ("containers",),
        "supportedModelFormats": _FORMATS,
        "protocolVersions": [str],
        "disabled": bool,
        "multiModel": bool,
        "workerSpec": _WORKER,
    },
    "*": object,
}
_MODEL: Final = {
    **_CONTAINER,
    "!": ("modelFormat",),
    "modelFormat": {"!": ("name",), "name": str, "version": str, "*": object},
    "runtime": str,
    "runtimeVersion": str,
    "storageUri": str,
    "protocolVersion": str,
    "storage": {"*": object},
}
_PREDICTOR: Final = {
    **_POD,
    "model": _MODEL,
    "workerSpec": _WORKER,
    "name": str,
    "minReplicas": int,
    "maxReplicas": int,
    "scaleTarget": int,
    "scaleMetric": str,
    "containerConcurrency": int,
    "deploymentStrategy": {"type": str, "rollingUpdate": {"*": object}, "*": object},
    "logger": {"*": object},
    "batcher": {"*": object},
    "storageUris": [{"!": ("uri",), "uri": str, "mountPath": str, "*": object}],
}
_SERVICE: Final = {
    "!": ("metadata", "spec"),
    "metadata": _METADATA,
    "spec": {
        "!": ("predictor",),
        "predictor": _PREDICTOR,
        "transformer": {"*": object},
        "explainer": {"*": object},
        "canary": [{"predictor": _PREDICTOR, "trafficPercent": int, "*": object}],
        "*": object,
    },
    "*": object,
}
_TEMPLATE: Final = {
    "metadata": {"labels": _TEXTS, "annotations": _TEXTS, "*": object},
    "!": ("spec",),
    "spec": {**_POD, "!": ("containers",), "subdomain": str},
    "*": object,
}
_LWS: Final = {
    "!": ("metadata", "spec"),
    "metadata": _METADATA,
    "spec": {
        "!": ("leaderWorkerTemplate",),
        "replicas": int,
        "leaderWorkerTemplate": {
            "!": ("workerTemplate",),
            "size": int,
            "leaderTemplate": _TEMPLATE,
            "workerTemplate": _TEMPLATE,
            "subGroupPolicy": {"*": object},
            "*": object,
        },
        "networkConfig": {"subdomainPolicy": str, "*": object},
        "rolloutStrategy": {"*": object},
        "*": object,
    },
    "*": object,
}
SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ServingRuntime": _RUNTIME,
    "ClusterServingRuntime": _RUNTIME,
    "InferenceService": _SERVICE,
    "LeaderWorkerSet": _LWS,
}
_WORDS: Final = {str: "text", int: "a whole number", bool: "true or false"}


def is_shaped(body: Mapping[str, Any]) -> bool:
    """Whether a body has the types that its kind's schema wants: a webhook sees no other."""
    try:
        check(body)
    except MultinodeError:
        return False
    return True


def check(body: Mapping[str, Any]) -> None:
    """Refuse a body that the API server's schema would reject.

    Raises:
        MultinodeError: with the object, the path and what should stand there.
    """
    kind = body.get("kind")
    schema = SCHEMAS.get(kind) if isinstance(kind, str) else None
    if schema is None:
        return
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    _check(body, schema, (), f"{kind} {name}" if isinstance(name, str) and name else str(kind))


def _check(value: object, schema: Any, path: tuple[str, ...], where: str) -> None:
    if schema is object or value is None:
        return
    if isinstance(schema, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(value, "a mapping", path, where)
        _check_mapping(value, schema, path, where)
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise _wrong(value, "a list", path, where)
        for index, item in enumerate(value):
            if item is None:
                raise _wrong(item, "a value", (*path, str(index)), where)
            _check(item, schema[0], (*path, str(index)), where)
    elif schema is _QUANTITY:
        _check_quantity(value, path, where)
    elif isinstance(value, bool) is not (schema is bool) or not isinstance(value, schema):
        raise _wrong(value, _WORDS[schema], path, where)


def _check_quantity(value: object, path: tuple[str, ...], where: str) -> None:
    try:
        quantity.parse(value)
    except ValueError as error:
        raise _wrong(value, "a quantity such as 2, 500m or 16Gi", path, where) from error


def _check_mapping(
    value: Mapping[Any, Any], schema: Mapping[str, Any], path: tuple[str, ...], where: str
) -> None:
    for name in schema.get("!", ()):
        if value.get(name) is None or (value[name] == "" and path == ("metadata",)):
            raise MultinodeError(
                ExitCode.MANIFEST,
                f"'{'.'.join((*path, name))}' is missing.",
                where=where,
                hint="Kubernetes rejects the object without it.",
            )
    for name, item in value.items():
        if not isinstance(name, str):
            raise _wrong(name, "text as a key", path, where)
        _check(item, schema.get(name, schema.get("*", object)), (*path, name), where)


def _wrong(value: object, wanted: str, path: tuple[str, ...], where: str) -> MultinodeError:
    shown = repr(value) if isinstance(value, (str, int, float)) else type(value).__name__
    hint = "Write it in quotes." if wanted == "text" and isinstance(value, (int, float)) else ""
    return MultinodeError(
        ExitCode.MANIFEST,
        f"'{'.'.join(path) or 'the object'}' should be {wanted}, not {shown[:60]}.",
        where=where,
        hint=hint or "Kubernetes rejects the object as it is.",
    )

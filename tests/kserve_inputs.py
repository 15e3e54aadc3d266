"""A ServingRuntime and an InferenceService that KServe accepts, to vary one field at a time."""

import copy
from typing import Any, Final

from vllm_multinode.platforms.releases import MULTI_NODE_KSERVE

Body = dict[str, Any]
VERSIONS: Final = tuple(one.number for one in MULTI_NODE_KSERVE)
"""Every known KServe that makes services over several nodes."""

_CONTAINER: Body = {
    "image": "example.com/vllm-multinode:1",
    "command": ["multinode"],
    "env": [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "A", "value": "runtime"},
    ],
    "resources": {"limits": {"cpu": "4", "memory": "16Gi"}, "requests": {"cpu": "2", "memory": "8Gi"}},
    "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
}
_VOLUMES: list[Body] = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}]


def runtime(*, head: Body | None = None, worker: Body | None = None, **spec: Any) -> Body:
    """A multi-node ServingRuntime `rt`; `head` and `worker` go over its containers, `spec` over the rest."""
    body = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "rt"},
        "spec": {
            "supportedModelFormats": [{"name": "vLLM", "version": "1", "autoSelect": True, "priority": 2}],
            "protocolVersions": ["v2", "v1"],
            "containers": [
                {
                    "name": "kserve-container",
                    **copy.deepcopy(_CONTAINER),
                    "args": ["head"],
                    "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                    **(head or {}),
                }
            ],
            "volumes": copy.deepcopy(_VOLUMES),
            "workerSpec": {
                "pipelineParallelSize": 2,
                "tensorParallelSize": 1,
                "containers": [
                    {
                        "name": "worker-container",
                        **copy.deepcopy(_CONTAINER),
                        "args": ["worker"],
                        **(worker or {}),
                    }
                ],
                "volumes": copy.deepcopy(_VOLUMES),
            },
            **spec,
        },
    }
    found: Body = _without_none(body)
    return found


def service(
    *,
    name: str = "llm",
    version: str = "0.18.1",
    annotations: dict[str, str] | None = None,
    model: Body | None = None,
    worker: Body | None = None,
    **predictor: Any,
) -> Body:
    """A multi-node InferenceService on `rt`, as `version` accepts it; None removes a field."""
    old = version in ("0.14.1", "0.15.0")
    found: Body = _without_none(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {
                "name": name,
                "annotations": {
                    "serving.kserve.io/deploymentMode": "RawDeployment",
                    "serving.kserve.io/autoscalerClass": "external" if old else "none",
                    **(annotations or {}),
                },
            },
            "spec": {
                "predictor": {
                    "model": {
                        "modelFormat": {"name": "vLLM"},
                        "runtime": "rt",
                        "storageUri": "pvc://models/llama",
                        **(model or {}),
                    },
                    "workerSpec": worker or {},
                    **predictor,
                }
            },
        }
    )
    return found


def gpus(count: int, resource: str = "nvidia.com/gpu") -> Body:
    """Resources that ask for `count` GPUs as they should be asked for."""
    return {"limits": {resource: str(count)}, "requests": {resource: str(count)}}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value

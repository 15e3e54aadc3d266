"""The InferenceService: sizes, accelerators, placement and all else that a ServingRuntime cannot carry."""

import json
from collections.abc import Mapping
from typing import Any

from vllm_multinode.authoring.render import names, queue
from vllm_multinode.authoring.render.pod import (
    accelerators,
    annotations,
    container_fields,
    labels,
    pod_fields,
    said,
    volumes,
)
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.authoring.spec.accelerators import COUNTED
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.contract.kserve import Role
from vllm_multinode.platforms import names as kserve
from vllm_multinode.platforms.releases import Release

Object = dict[str, Any]

_BASIC = ("cpu", "memory", "ephemeral-storage")


def inference_service(spec: DeploymentSpec, name: str, release: Release) -> Object:
    """One InferenceService: the whole, or one of its replicas.

    Args:
        spec: what is meant.
        name: of the service, or of the replica.
        release: of KServe or OpenShift AI.
    """
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": said(
            {
                "name": name,
                "namespace": spec.namespace,
                "labels": {**labels(spec), **queue.group_labels(spec, name)},
                "annotations": _annotations(spec, release),
            }
        ),
        "spec": {
            "predictor": said(
                {
                    "deploymentStrategy": {"type": spec.deployment_strategy},
                    **_pod(spec, name, "head"),
                    "model": _model(spec),
                    "volumes": volumes(spec, "head"),
                    "workerSpec": _worker(spec, name),
                }
            )
        },
    }


def runtime_name(spec: DeploymentSpec) -> str:
    """The ServingRuntime that the service names."""
    return (spec.runtime and spec.runtime.name) or EXECUTORS[spec.executor].runtime


def _annotations(spec: DeploymentSpec, release: Release) -> Mapping[str, str]:
    told = resource_types(spec)
    return {
        kserve.DEPLOYMENT_MODE: release.raw_mode,
        kserve.AUTOSCALER_CLASS: release.autoscaler_class,
        names.ACCELERATOR: spec.accelerator.type,
        **({kserve.GPU_TYPES: json.dumps(told)} if told else {}),
        **queue.group_annotations(spec),
        **annotations(spec),
    }


def resource_types(spec: DeploymentSpec) -> list[str]:
    """Resources that KServe rejects unless told of them, accelerators first: it takes the first it finds."""
    found = [spec.accelerator_resource]
    if spec.network.rdma is not None:
        found.append(spec.network.rdma.resource)
    found += spec.resources.other
    return [
        name
        for position, name in enumerate(found)
        if name not in COUNTED and (position == 0 or name not in _BASIC)
    ]


def _pod(spec: DeploymentSpec, name: str, role: Role) -> Object:
    return pod_fields(spec, role, {"labelSelector": {"matchLabels": {kserve.SERVICE_LABEL: name}}})


def _model(spec: DeploymentSpec) -> Object:
    return {
        "modelFormat": {"name": names.MODEL_FORMAT},
        "runtime": runtime_name(spec),
        "storageUri": spec.storage_uri,
        **_container(spec, "head"),
    }


def _worker(spec: DeploymentSpec, name: str) -> Object:
    return said(
        {
            "tensorParallelSize": spec.parallelism.tensor,
            "pipelineParallelSize": spec.parallelism.pipeline,
            **_pod(spec, name, "worker"),
            "containers": [{"name": names.CONTAINERS["worker"], **_container(spec, "worker")}],
            "volumes": volumes(spec, "worker"),
        }
    )


def _container(spec: DeploymentSpec, role: Role) -> Object:
    fields = container_fields(spec, role)
    if not accelerators(spec):
        # KServe writes the number of ranks over the first resource that it was told of.
        counted = {spec.accelerator_resource: str(spec.per_node)}
        resources = fields.get("resources", {})
        fields["resources"] = {
            key: counted | resources.get(key, {}) | counted for key in ("requests", "limits")
        }
    return fields

"""The ServingRuntime: what is the same for every service of one executor."""

import json
from typing import Any, Final, get_args

from vllm_multinode.authoring.render import names
from vllm_multinode.authoring.render.container import container, volumes
from vllm_multinode.authoring.render.images import default_image
from vllm_multinode.authoring.spec.accelerators import RESOURCES, AcceleratorType
from vllm_multinode.authoring.spec.parts import Install
from vllm_multinode.contract import env, labels, ports
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.contract.kserve import Role
from vllm_multinode.platforms import names as kserve

DEFAULT_SHARED_MEMORY = "16Gi"
KSERVE_RUNTIME: Final = "opendatahub.io/kserve-runtime"


def serving_runtime(
    executor: ExecutorName,
    accelerator: AcceleratorType | None = None,
    *,
    name: str | None = None,
    namespace: str | None = None,
    image: str | None = None,
    install: Install = "configMap",
    user: int | None = names.USER,
    shared_memory: str = DEFAULT_SHARED_MEMORY,
) -> dict[str, Any]:
    """A complete ServingRuntime that names neither sizes nor accelerators: those are the InferenceService's.

    Args:
        executor: ray or mp.
        accelerator: recommended by OpenShift AI's dashboard; all four makers' where None.
        name: vllm-multinode-ray or -mp by default.
        namespace: left out where None.
        image: the default one for the way of installing.
        install: how the launcher comes into the pods.
        user: that containers run as; None where the cluster chooses one, as OpenShift does.
        shared_memory: size of /dev/shm, which an InferenceService may change.
    """
    annotation = EXECUTORS[executor].annotation
    spec_annotations = {
        **({kserve.EXECUTOR: annotation} if annotation else {}),
        KSERVE_RUNTIME: "vllm",
        "prometheus.io/port": str(ports.API),
        "prometheus.io/path": "/metrics",
    }
    image = image or default_image(install, executor=executor)
    containers = {
        role: _container(role, executor, accelerator, image, install, user) for role in get_args(Role)
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {
            "name": name or EXECUTORS[executor].runtime,
            **({"namespace": namespace} if namespace else {}),
            "labels": {labels.MANAGED_BY: labels.MANAGER, "opendatahub.io/dashboard": "true"},
            "annotations": _dashboard(executor, accelerator),
        },
        "spec": {
            "annotations": spec_annotations,
            "labels": {labels.COMPONENT: "head"},
            "supportedModelFormats": [{"name": names.MODEL_FORMAT}],
            "containers": [containers["head"]],
            "volumes": volumes(shared_memory, install),
            "workerSpec": {
                # v0.15.0 wants sizes here too; those of the InferenceService hold.
                "tensorParallelSize": 1,
                "pipelineParallelSize": 2,
                "labels": {labels.COMPONENT: "worker"},
                # Without any annotation here the controller of OpenShift AI 2.16 to 2.22 panics over a
                # service that names GPU types.
                "annotations": {KSERVE_RUNTIME: "vllm"},
                "containers": [containers["worker"]],
                "volumes": volumes(shared_memory, install),
            },
        },
    }


def _container(
    role: Role,
    executor: ExecutorName,
    accelerator: AcceleratorType | None,
    image: str,
    install: Install,
    user: int | None,
) -> dict[str, Any]:
    made = container(
        role,
        executor,
        name=names.CONTAINERS[role],
        image=image,
        generation_label=kserve.GENERATION_LABEL,
        install=install,
        user=user,
    )
    source = f"metadata.annotations['{kserve.SOURCE_URI}']"
    made["env"].append({"name": env.MODEL_SOURCE, "valueFrom": {"fieldRef": {"fieldPath": source}}})
    if accelerator == "none":
        made["env"].append({"name": env.ACCELERATOR, "value": "cpu"})
    return made


def _dashboard(executor: ExecutorName, accelerator: AcceleratorType | None) -> dict[str, str]:
    """What OpenShift AI's dashboard shows, as in the templates of opendatahub-io/odh-model-controller."""
    makers = [accelerator] if accelerator is not None else [maker for maker in RESOURCES if maker != "none"]
    recommended = [RESOURCES[maker] for maker in makers if maker != "none"]
    return {
        "openshift.io/display-name": EXECUTORS[executor].title,
        "opendatahub.io/apiProtocol": "REST",
        **({"opendatahub.io/recommended-accelerators": json.dumps(recommended)} if recommended else {}),
    }

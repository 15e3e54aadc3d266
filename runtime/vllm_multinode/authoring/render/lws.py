"""The same pods as a LeaderWorkerSet, for clusters without KServe or with a version that cannot do it.

The leader runs `multinode head`, the workers `multinode worker`; the launcher reads LWS_LEADER_ADDRESS and
LWS_GROUP_SIZE, which LeaderWorkerSet injects. Types: sigs.k8s.io/lws v0.7, leaderworkerset.x-k8s.io/v1.
"""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.authoring.render import names, queue
from vllm_multinode.authoring.render import pod as pods
from vllm_multinode.authoring.render.container import container, volumes
from vllm_multinode.authoring.render.images import default_image
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract import env, labels
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.kserve import MODEL_MOUNT, Role
from vllm_multinode.k8s.merge import strategic_merge

Object = dict[str, Any]

NAME: Final = "leaderworkerset.sigs.k8s.io/name"
GROUP_INDEX: Final = "leaderworkerset.sigs.k8s.io/group-index"
WORKER_INDEX: Final = "leaderworkerset.sigs.k8s.io/worker-index"
"""0 is the leader."""
_GROUP_KEY = "leaderworkerset.sigs.k8s.io/group-key"
_REVISION = "leaderworkerset.sigs.k8s.io/template-revision-hash"


def leader_worker_set(spec: DeploymentSpec, user: int | None = names.USER) -> Object:
    """All replicas as one LeaderWorkerSet.

    Args:
        spec: what is meant.
        user: that containers run as; None where the cluster chooses one, as OpenShift does.

    Raises:
        MultinodeError: SPEC, for a model that is no claim.
    """
    if spec.claim is None:
        raise MultinodeError(
            ExitCode.SPEC,
            "KServe mounts images as models, LeaderWorkerSet does not.",
            where="model.oci",
            hint="Copy the model to a claim and set model.claim.",
        )
    meta = pods.metadata(spec, spec.name)
    meta["labels"] |= queue.set_labels(spec)
    annotations = pods.annotations(spec)
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {**meta, **({"annotations": annotations} if annotations else {})},
        "spec": pods.said(
            {
                "replicas": spec.replicas,
                "rolloutStrategy": _rollout(spec),
                "leaderWorkerTemplate": {
                    "size": spec.nodes,
                    # The group heals in place: its launcher starts the engine again when a pod comes back.
                    "restartPolicy": "None",
                    "leaderTemplate": _template(spec, "head", user),
                    "workerTemplate": _template(spec, "worker", user),
                },
            }
        ),
    }


def _rollout(spec: DeploymentSpec) -> Object | None:
    """By default a group is taken down before it comes up again: no second set of accelerators is needed."""
    if spec.deployment_strategy == "Recreate":
        return None
    return {"type": "RollingUpdate", "rollingUpdateConfiguration": {"maxUnavailable": 0, "maxSurge": 1}}


def _template(spec: DeploymentSpec, role: Role, user: int | None) -> Object:
    return {
        "metadata": pods.said(
            {
                "labels": {**pods.labels(spec), labels.COMPONENT: role},
                "annotations": pods.annotations(spec),
            }
        ),
        "spec": {
            **pods.pod_fields(spec, role, _group(spec)),
            "containers": [_container(spec, role, user)],
            "volumes": _volumes(spec, role),
        },
    }


def _group(spec: DeploymentSpec) -> Mapping[str, Any]:
    """Selects the pods of a pod's own group."""
    return {"labelSelector": {"matchLabels": {NAME: spec.name}}, "matchLabelKeys": [_GROUP_KEY]}


def _container(spec: DeploymentSpec, role: Role, user: int | None) -> Object:
    common = container(
        role,
        spec.executor,
        name=role,
        image=default_image(spec.install, spec.accelerator.type, spec.executor),
        generation_label=_REVISION,
        install=spec.install,
        user=user,
    )
    ours = pods.container_fields(spec, role)
    # KServe writes the CPUs of an engine without accelerators; nobody does here.
    ours["resources"]["requests"] = {
        "cpu": pods.limited(pods.CPU, spec.resources.cpu_limit),
        **ours["resources"]["requests"],
    }
    merged = strategic_merge(
        common, {key: value for key, value in ours.items() if key not in ("args", "env")}
    )
    merged["args"] = [*common["args"], *ours.get("args", ())]
    merged["env"] = [*common["env"], *_injected(spec, role), *ours.get("env", ())]
    merged["volumeMounts"] = [
        *common["volumeMounts"],
        pods.said(
            {
                "name": "model",
                "mountPath": MODEL_MOUNT,
                "subPath": spec.model.folder or None,
                "readOnly": True,
            }
        ),
        *ours.get("volumeMounts", ()),
    ]
    return merged


def _injected(spec: DeploymentSpec, role: Role) -> list[Object]:
    """What KServe would inject and LeaderWorkerSet does not."""
    variables = {
        env.TENSOR_PARALLEL_SIZE: str(spec.parallelism.tensor),
        env.PIPELINE_PARALLEL_SIZE: str(spec.parallelism.pipeline),
        env.REQUEST_GPU_COUNT: str(spec.per_node),
        **({env.MODEL_NAME: spec.name} if role == "head" else {}),
        env.MODEL_SOURCE: spec.storage_uri,
    }
    return [{"name": name, "value": value} for name, value in variables.items()]


def _volumes(spec: DeploymentSpec, role: Role) -> list[Object]:
    model = {
        "name": "model",
        "persistentVolumeClaim": {"claimName": spec.claim, "readOnly": True},
    }
    _, *further = pods.volumes(spec, role)
    return [*volumes(spec.shared_memory, spec.install), model, *further]

"""What KServe's pod webhook adds to a pod: the model's volume, a modelcar, an initializer, annotations.

The settings are those of the ConfigMap `inferenceservice-config` as KServe ships it.

Source: pkg/webhook/admission/pod/{storage_initializer,metrics_aggregate,accelerator}_injector.go and
pkg/utils/storage.go, v0.14.1 to v0.20.0.
"""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.contract.kserve import CLAIM_SCHEME, MODEL_MOUNT, claim_and_path
from vllm_multinode.platforms import names
from vllm_multinode.platforms.kserve.agent import with_puller
from vllm_multinode.platforms.kserve.containers import with_variable
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body

_OCI: Final = "oci://"
_CLAIM_VOLUME: Final = "kserve-pvc-source"
_SHARED_VOLUME: Final = "kserve-provision-location"
_SHARED_PATH: Final = "/mnt"
_MODELCAR_UID: Final = 1010
_MODELCAR_RESOURCES: Final = {
    "limits": {"cpu": "10m", "memory": "15Mi"},
    "requests": {"cpu": "10m", "memory": "15Mi"},
}
_INITIALIZER: Final = "storage-initializer"
_INITIALIZER_RESOURCES: Final = {
    "limits": {"cpu": "1", "memory": "1Gi"},
    "requests": {"cpu": "100m", "memory": "100Mi"},
}
_DOWNLOAD_ENV: Final = {
    "HF_HUB_ENABLE_HF_TRANSFER": "1",
    "HF_XET_HIGH_PERFORMANCE": "1",
    "HF_XET_NUM_CONCURRENT_RANGE_GETS": "8",
}


class PodRefused(Exception):  # noqa: N818 - an outcome that the preview tells, not a fault
    """KServe's pod webhook rejects every pod of a Deployment, so it stays at none."""


def admitted(metadata: Mapping[str, Any], pod: Body, release: Release) -> tuple[Body, Body]:
    """Metadata and spec of a pod after KServe's webhook.

    Args:
        metadata: of the pod template: labels and annotations.
        pod: the template's spec.
        release: of KServe or OpenShift AI.

    Raises:
        PodRefused: the webhook fails on it.
    """
    annotations = dict(metadata.get("annotations") or {})
    pod = _accelerator(pod, annotations)
    source = annotations.get(names.SOURCE_URI, "")
    main = _main_container(pod)
    if source.startswith(_OCI):
        pod = _with_modelcar(pod, main, source.removeprefix(_OCI), release)
    elif source.startswith(CLAIM_SCHEME):
        pod = _with_claim(pod, main, source, annotations)
    elif source:
        pod = _with_initializer(pod, main, source, annotations, release)
    if names.AGENT in annotations:
        pod = with_puller(pod, annotations)
    annotations.setdefault(names.METRIC_AGGREGATION, "false")
    annotations.setdefault(names.PROMETHEUS_SCRAPING, "false")
    return {**metadata, "annotations": annotations}, pod


def _main_container(pod: Body) -> str:
    present = [one["name"] for one in pod["containers"]]
    return names.HEAD_CONTAINER if names.HEAD_CONTAINER in present else names.WORKER_CONTAINER


def _accelerator(pod: Body, annotations: Mapping[str, str]) -> Body:
    wanted = annotations.get(names.GKE_ACCELERATOR)
    limits = [(one.get("resources") or {}).get("limits") or {} for one in pod["containers"]]
    if wanted is None or not any(names.NVIDIA in one for one in limits):
        return pod
    selector = {**(pod.get("nodeSelector") or {}), "cloud.google.com/gke-accelerator": wanted}
    return {**pod, "nodeSelector": selector}


def _with_claim(pod: Body, main: str, source: str, annotations: Mapping[str, str]) -> Body:
    claim, path = claim_and_path(source)
    mount: Body = {"name": _CLAIM_VOLUME, "mountPath": MODEL_MOUNT}
    if path:
        mount["subPath"] = path
    if annotations.get(names.READ_ONLY) != "false":
        mount["readOnly"] = True
    volume = {"name": _CLAIM_VOLUME, "persistentVolumeClaim": {"claimName": claim}}
    return _mounted(pod, (main, names.TRANSFORMER_CONTAINER), mount, volume)


def _with_modelcar(pod: Body, main: str, image: str, release: Release) -> Body:
    if main == names.WORKER_CONTAINER and release.refuses_oci_workers:
        raise PodRefused(f"no container found with name {names.HEAD_CONTAINER}")
    volume = {"name": _SHARED_VOLUME, "emptyDir": {}}
    mount = {"name": _SHARED_VOLUME, "mountPath": _SHARED_PATH}
    made = []
    for one in _mounted(pod, (main, names.TRANSFORMER_CONTAINER), mount, volume)["containers"]:
        if one["name"] in (main, names.TRANSFORMER_CONTAINER):
            one = with_variable(one, "MODEL_INIT_MODE", "async")
            before = one.get("securityContext") or {} if release.modelcar_keeps_security_context else {}
            one = {**one, "securityContext": {**before, "runAsUser": _MODELCAR_UID}}
        made.append(one)
    volumes = _mounted(pod, (main,), mount, volume)["volumes"]
    car = {
        "name": "modelcar",
        "image": image,
        "args": ["sh", "-c", f"ln -sf /proc/$$$$/root/models {MODEL_MOUNT} && sleep infinity"],
        "resources": _MODELCAR_RESOURCES,
        "volumeMounts": [mount],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"runAsUser": _MODELCAR_UID},
    }
    fetch = {
        "name": "modelcar-init",
        "image": image,
        "args": ["sh", "-c", _prefetch(image)],
        "resources": _MODELCAR_RESOURCES,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return {
        **pod,
        "volumes": volumes,
        "initContainers": [*(pod.get("initContainers") or []), fetch],
        "containers": [*made, car],
        "shareProcessNamespace": True,
    }


def _prefetch(image: str) -> str:
    """The init container's check, word for word, since it stands in every pod."""
    return (
        f"echo 'Pre-fetching modelcar {image}: ' && [ -d /models ] && [ \"$$(ls -A /models)\" ] && "
        "echo 'OK ... Prefetched and valid (/models exists)' || "
        "(echo 'NOK ... Prefetched but modelcar is invalid (/models does not exist or is empty)' && exit 1)"
    )


def _with_initializer(
    pod: Body, main: str, source: str, annotations: Mapping[str, str], release: Release
) -> Body:
    volume = {"name": _SHARED_VOLUME, "emptyDir": {}}
    mount: Body = {"name": _SHARED_VOLUME, "mountPath": MODEL_MOUNT}
    read = {**mount, "readOnly": True} if annotations.get(names.READ_ONLY) != "false" else mount
    initializer: Body = {
        "name": _INITIALIZER,
        "image": "kserve/storage-initializer:latest",
        "args": [source, MODEL_MOUNT],
        "resources": _INITIALIZER_RESOURCES,
        "volumeMounts": [mount],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if release.initializer_has_download_env:
        initializer["env"] = [{"name": name, "value": value} for name, value in _DOWNLOAD_ENV.items()]
    made = _mounted(pod, (main, names.TRANSFORMER_CONTAINER), read, volume)
    return {**made, "initContainers": [*(pod.get("initContainers") or []), initializer]}


def _mounted(pod: Body, containers: tuple[str, ...], mount: Body, volume: Body) -> Body:
    """The pod with a mount in each of the containers that has none of that volume yet, and the volume."""
    made = []
    for one in pod["containers"]:
        mounts = one.get("volumeMounts") or []
        if one["name"] in containers and all(there["name"] != mount["name"] for there in mounts):
            one = {**one, "volumeMounts": [*mounts, mount]}
        made.append(one)
    volumes = pod.get("volumes") or []
    if all(there["name"] != volume["name"] for there in volumes):
        volumes = [*volumes, volume]
    return {**pod, "containers": made, "volumes": volumes}

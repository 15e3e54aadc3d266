"""What says that an object is ours, and the objects in the order in which they are applied."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract.labels import DEPLOYMENTS, MANAGED_BY, MANAGER
from vllm_multinode.platforms import names as kserve

SELECTOR: Final = f"{MANAGED_BY}={MANAGER}"

INFERENCE_SERVICE: Final = ("serving.kserve.io/v1beta1", "InferenceService")
SERVING_RUNTIME: Final = ("serving.kserve.io/v1alpha1", "ServingRuntime")
LEADER_WORKER_SET: Final = ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet")
CLAIM: Final = ("v1", "PersistentVolumeClaim")

KINDS: Final = (
    INFERENCE_SERVICE,
    LEADER_WORKER_SET,
    ("route.openshift.io/v1", "Route"),
    ("networking.k8s.io/v1", "Ingress"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("gateway.networking.k8s.io/v1", "Gateway"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("policy/v1", "PodDisruptionBudget"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "Job"),
    ("v1", "Service"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    SERVING_RUNTIME,
    ("serving.kserve.io/v1alpha1", "ClusterServingRuntime"),
    CLAIM,
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
)
"""The kinds that a deployment is made of, in the order in which they are deleted."""
_LAST: Final = tuple(kind for _, kind in reversed(KINDS))
SERVICES: Final = (INFERENCE_SERVICE[1], LEADER_WORKER_SET[1])
POD_LABELS: Final = {
    INFERENCE_SERVICE[1]: kserve.SERVICE_LABEL,
    LEADER_WORKER_SET[1]: "leaderworkerset.sigs.k8s.io/name",
}
"""The label by which the pods of a service are found; its value is the service's name."""


def order(body: Mapping[str, Any]) -> int:
    """What others refer to comes first: namespaces, accounts, secrets, claims, runtimes; services last."""
    kind = str(body.get("kind"))
    if kind in ("Namespace", "CustomResourceDefinition"):
        return -1
    # A kind that is not known here may be referred to by a service, and refers to the core's.
    return _LAST.index(kind) if kind in _LAST else _LAST.index("ServingRuntime")


def deployments(body: Mapping[str, Any]) -> set[str]:
    """The deployments, as namespace/name, that an object is part of; none where it is not ours.

    KServe copies a service's labels and annotations to all that it makes; what has an owner goes with it.
    """
    metadata = body.get("metadata") or {}
    if metadata.get("ownerReferences") or (metadata.get("labels") or {}).get(MANAGED_BY) != MANAGER:
        return set()
    text = str((metadata.get("annotations") or {}).get(DEPLOYMENTS) or "")
    return {part for part in text.split(",") if part}


def marked(body: Mapping[str, Any], names: Iterable[str]) -> Object:
    """The object as part of these deployments."""
    metadata = dict(body.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), MANAGED_BY: MANAGER}
    joined = ",".join(sorted(names))
    metadata["annotations"] = {**(metadata.get("annotations") or {}), DEPLOYMENTS: joined}
    return {**body, "metadata": metadata}


def managers(body: Mapping[str, Any]) -> str:
    """Who wrote an object, for a reader."""
    entries = (body.get("metadata") or {}).get("managedFields") or []
    names = dict.fromkeys(
        str(entry.get("manager")) for entry in entries if entry.get("subresource") != "status"
    )
    return ", ".join(names) or "somebody"

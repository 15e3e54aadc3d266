"""What the controllers have made of what a test applied."""

from collections.abc import Sequence
from typing import Any, Final

from controlplane.plane.kubectl import Kubectl
from engine.services import eventually

_KINDS: Final = "deployments,services,pods"
# Kubernetes' own Deployment controller counts there.
_REVISION: Final = "deployment.kubernetes.io/revision"


def made(kubectl: Kubectl, wanted: Sequence[object]) -> list[dict[str, Any]]:
    """The Deployments, Services and Pods of a namespace, once there are as many as wanted."""
    found = eventually(lambda: _enough(kubectl.list(_KINDS), len(wanted)))
    for body in found:
        body["metadata"].get("annotations", {}).pop(_REVISION, None)
        if body["kind"] == "Pod":
            # A ReplicaSet, whose name is a hash.
            del body["metadata"]["ownerReferences"]
    return found


def _enough(found: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    return found if len(found) >= number else []

"""Waits for the router before several replicas."""

from typing import Final

from vllm_multinode.authoring.render.router import is_router
from vllm_multinode.cluster import pod_states
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.deploy import objects_of
from vllm_multinode.cluster.patience import Awaited, Look
from vllm_multinode.cluster.transport import Object

DEPLOYMENT: Final = ("apps/v1", "Deployment")


def routers_of(cluster: Cluster, name: str) -> list[str]:
    """Names of the routers of a deployment."""
    found = objects_of(cluster, f"{cluster.namespace}/{name}")
    return [item.name for item in found if is_router(item.body)]


def ready_router(cluster: Cluster, name: str) -> Awaited:
    """The Deployment of a router, every pod of which is to lead to a head that serves."""
    resource = cluster.resource(*DEPLOYMENT)

    def look() -> Look | None:
        deployment = cluster.get(resource, name)
        return _look(cluster, deployment) if deployment is not None else None

    return Awaited(look, f"Deployment {cluster.namespace}/{name}", "ready")


def _look(cluster: Cluster, deployment: Object) -> Look:
    ready, wanted = _ready(deployment)
    if ready >= wanted:
        return Look(over=True)
    pods = _pods(cluster, deployment)
    events, _ = cluster.list(cluster.resource("v1", "Event"))
    states = "; ".join(f"{pod['metadata']['name']}: {pod_states.words(pod)}" for pod in pods)
    return Look(
        over=False,
        line=f"the router has {ready} of {wanted} pods ready ({states or 'none is there yet'})",
        troubles=[trouble for pod in pods for trouble in pod_states.troubles(pod, events)],
    )


def _ready(deployment: Object) -> tuple[int, int]:
    """Pods of the present template that are available, and how many there should be."""
    status, wanted = deployment.get("status") or {}, int(deployment["spec"].get("replicas", 1))
    if int(status.get("observedGeneration") or 0) < int(deployment["metadata"].get("generation") or 0):
        return 0, wanted
    return min(int(status.get(key) or 0) for key in ("availableReplicas", "updatedReplicas")), wanted


def _pods(cluster: Cluster, deployment: Object) -> list[Object]:
    selector = deployment["spec"]["selector"]["matchLabels"]
    found, _ = cluster.list(
        cluster.resource("v1", "Pod"), labels=",".join(f"{key}={value}" for key, value in selector.items())
    )
    kept = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
    return sorted(kept, key=lambda pod: str(pod["metadata"]["name"]))

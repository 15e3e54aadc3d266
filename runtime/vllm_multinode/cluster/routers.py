"""Waits for the router before several replicas."""

import threading
import time
from collections.abc import Callable
from typing import Final

from vllm_multinode.authoring.render.router import is_router
from vllm_multinode.cluster import pod_states
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.deploy import objects_of
from vllm_multinode.cluster.pauses import pause
from vllm_multinode.cluster.transport import Object
from vllm_multinode.cluster.wait import Patience
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

DEPLOYMENT: Final = ("apps/v1", "Deployment")
_POLL: Final = 2.0


def routers_of(cluster: Cluster, name: str) -> list[str]:
    """Names of the routers of a deployment."""
    found = objects_of(cluster, f"{cluster.namespace}/{name}")
    return [item.name for item in found if is_router(item.body)]


def await_router(
    cluster: Cluster,
    name: str,
    *,
    timeout: float,
    show: Callable[[str], None],
    poll: float = _POLL,
    cancel: threading.Event | None = None,
) -> None:
    """Return when every pod of a router leads to a head that serves.

    Args:
        cluster: where.
        name: of its Deployment.
        timeout: seconds.
        show: called with a line whenever it differs from the one before.
        poll: seconds between two looks.
        cancel: ends the wait when it is set.

    Raises:
        MultinodeError: NOT_SERVING: it is not ready in time, or its pods cannot run; with the reason.
    """
    resource, ends, patience = cluster.resource(*DEPLOYMENT), time.monotonic() + timeout, Patience()
    where, shown = f"Deployment {cluster.namespace}/{name}", ""
    while True:
        found = cluster.get(resource, name)
        if found is None:
            raise MultinodeError(ExitCode.NOT_SERVING, "is gone.", where=where, hint="Deploy it again.")
        ready, wanted = _ready(found)
        if ready >= wanted:
            return
        pods = _pods(cluster, found)
        states = "; ".join(f"{pod['metadata']['name']}: {pod_states.words(pod)}" for pod in pods)
        line = f"the router has {ready} of {wanted} pods ready ({states or 'none is there yet'})"
        if line != shown:
            show(line)
            shown = line
        events, _ = cluster.list(cluster.resource("v1", "Event"))
        troubles = [trouble for pod in pods for trouble in pod_states.troubles(pod, events)]
        if trouble := patience.used_up(troubles, time.monotonic()):
            raise MultinodeError(
                ExitCode.NOT_SERVING, trouble.what, where=f"{where}: {trouble.subject}", hint=trouble.hint
            )
        if time.monotonic() >= ends:
            what = f"is not ready after {timeout:g} s: {line}."
            raise MultinodeError(ExitCode.NOT_SERVING, what, where=where, hint="Give it more --timeout.")
        pause(poll, cancel)


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

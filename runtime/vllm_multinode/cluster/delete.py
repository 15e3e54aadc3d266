"""Deletes what a deployment made, and nothing else."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from vllm_multinode.cluster import ownership
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.deploy import Item, objects_of, prepare
from vllm_multinode.cluster.pauses import pause
from vllm_multinode.cluster.transport import Object
from vllm_multinode.cluster.updates import services_of_runtime
from vllm_multinode.contract import labels
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

_POLL: Final = 1.0
"""Seconds between two looks at what is still there."""
_NEVER: Final = ("Namespace", "CustomResourceDefinition")
# Whoever may not list these over the whole cluster has not created any.
_CLUSTERS_OWN: Final = ("ClusterServingRuntime",)


@dataclass
class Deleted:
    """What was deleted, what was kept, each with the reason, and kinds that this login may not list."""

    gone: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


@dataclass
class Marked:
    """What is marked as part of a deployment, as far as this login may see it.

    Attributes:
        items: the objects, in the order in which they are deleted.
        unlisted: namespaced kinds that this login may not list.
    """

    items: list[Item]
    unlisted: list[str] = field(default_factory=list)


def of_name(cluster: Cluster, name: str) -> Marked:
    """Everything that is marked as part of the deployment.

    Raises:
        MultinodeError: FORBIDDEN: this login may not list services, so that nothing can be said of any.
    """
    refused: dict[str, MultinodeError] = {}
    items = objects_of(cluster, f"{cluster.namespace}/{name}", refused)
    for kind in ownership.SERVICES:
        if kind in refused:
            raise refused[kind]
    return Marked(items, [kind for kind in refused if kind not in _CLUSTERS_OWN])


def of_bodies(cluster: Cluster, bodies: Sequence[Object]) -> Marked:
    """The objects of these names that there are, in the order in which they are deleted."""
    items = []
    for item in reversed(prepare(cluster, bodies)):
        item.found = cluster.get(item.resource, item.name, item.namespace)
        if item.found is not None:
            items.append(item)
    return Marked(items)


def delete(
    cluster: Cluster,
    marked: Marked,
    name: str,
    *,
    claim: bool = False,
    timeout: float = 300,
    say: Callable[[str], None] = lambda _: None,
    cancel: threading.Event | None = None,
) -> Deleted:
    """Delete a deployment's objects and wait until they and their pods are gone.

    Args:
        cluster: where.
        marked: from `of_name` or `of_bodies`.
        name: the deployment's.
        claim: its claims too, with the model in them.
        timeout: seconds to wait; 0 does not wait.
        say: told what is waited for, each time that changes.
        cancel: ends the wait when it is set.

    Raises:
        MultinodeError: NOT_SERVING: something is still there after `timeout` seconds.
    """
    identity = f"{cluster.namespace}/{name}"
    deleted = Deleted(unlisted=marked.unlisted)
    going: list[Item] = []
    for item in marked.items:
        if why := _why_kept(cluster, item, identity, [one.name for one in marked.items], claim=claim):
            deleted.kept.append((item.shown, why))
            _release(cluster, item, identity)
            continue
        uid = str((item.found or {}).get("metadata", {}).get("uid") or "")
        if cluster.delete(item.resource, item.name, item.namespace, uid=uid):
            deleted.gone.append(item.shown)
            going.append(item)
    if timeout > 0:
        _wait_until_gone(cluster, going, timeout, say, cancel)
    return deleted


def _why_kept(cluster: Cluster, item: Item, identity: str, together: Sequence[str], *, claim: bool) -> str:
    """Why an object stays; empty where it goes."""
    of = ownership.deployments(item.found or {})
    if item.resource.kind in _NEVER:
        return "it may contain other objects"
    if identity not in of:
        return f"it is not part of {identity}, but was created by {ownership.managers(item.found or {})}"
    if others := sorted(of - {identity}):
        return f"{', '.join(others)} uses it too"
    if item.resource.kind == "PersistentVolumeClaim" and not claim:
        return "it holds the model; --claim deletes it too"
    if item.resource.kind == "ServingRuntime":
        try:
            services = services_of_runtime(cluster, item.name, item.namespace)
        except MultinodeError as error:
            if error.code != ExitCode.FORBIDDEN:
                raise
            return f"an InferenceService may use it: {error.what}"
        if left := sorted({str(one["metadata"]["name"]) for one in services} - set(together)):
            return f"InferenceService {', '.join(left)} uses it"
    return ""


def _release(cluster: Cluster, item: Item, identity: str) -> None:
    """Take this deployment's name off an object that others of ours keep."""
    of = ownership.deployments(item.found or {})
    if item.found is None or identity not in of or of == {identity}:
        return
    cluster.annotate(
        item.resource, item.name, item.namespace, {labels.DEPLOYMENTS: ",".join(sorted(of - {identity}))}
    )


def _wait_until_gone(
    cluster: Cluster,
    items: Sequence[Item],
    timeout: float,
    say: Callable[[str], None],
    cancel: threading.Event | None,
) -> None:
    deadline = time.monotonic() + timeout
    told = ""
    while True:
        left = [still for item in items if (still := _still(cluster, item))]
        if not left:
            return
        words = "; ".join(left)
        if time.monotonic() >= deadline:
            raise MultinodeError(
                ExitCode.NOT_SERVING,
                f"after {timeout:g} s these remain: {words}.",
                hint="Does the controller run that clears its finalizers, and are the nodes reachable?",
            )
        if words != told:
            say(f"Waiting for {words}")
            told = words
        pause(min(_POLL, max(0.05, deadline - time.monotonic())), cancel)


def _still(cluster: Cluster, item: Item) -> str:
    """What of an object is left, in words; empty where nothing is."""
    found = cluster.get(item.resource, item.name, item.namespace)
    uid = (item.found or {}).get("metadata", {}).get("uid")
    if found is not None and found["metadata"].get("uid") == uid:
        held = ", ".join(found["metadata"].get("finalizers") or [])
        return item.shown + (f" (held by {held})" if held else "")
    label = ownership.POD_LABELS.get(item.resource.kind)
    if label is None:
        return ""
    pods, _ = cluster.list(
        cluster.resource("v1", "Pod"), namespace=item.namespace, labels=f"{label}={item.name}"
    )
    names = ", ".join(str(pod["metadata"]["name"]) for pod in pods)
    return f"pods {names}" if names else ""

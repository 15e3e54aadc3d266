"""What an update will do to a service that runs, said before it is done."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vllm_multinode.cluster import ownership
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


def announcements(cluster: Cluster, pairs: Sequence[tuple[Object, Object]], identity: str) -> Iterator[str]:
    """One sentence for each service that will roll, and for each runtime that others use too.

    Args:
        cluster: where.
        pairs: each object as it is, and as it will be.
        identity: the deployment, as namespace/name.
    """
    for found, asked in pairs:
        if found.get("spec") == asked.get("spec"):
            continue
        name, kind = str(found["metadata"]["name"]), str(found["kind"])
        if kind == "InferenceService":
            yield _of_service(name, asked)
        elif kind == "LeaderWorkerSet":
            yield _of_set(name, asked)
        elif kind == "ServingRuntime":
            yield from _of_runtime(cluster, name, found, identity)


def _of_service(name: str, asked: Object) -> str:
    strategy = (_at(asked, "spec", "predictor", "deploymentStrategy") or {}).get("type")
    if strategy == "Recreate":
        return (
            f"InferenceService {name} will be updated: its pods end first, then the new ones start, and it "
            "does not answer until they serve."
        )
    return (
        f"InferenceService {name} will be updated by a rolling update, which needs a second set of GPUs "
        "beside the one that serves, or never finishes. "
        "`deploymentStrategy: Recreate` needs no more GPUs, but stops the service during the update."
    )


def _of_set(name: str, asked: Object) -> str:
    surge = _at(asked, "spec", "rolloutStrategy", "rollingUpdateConfiguration", "maxSurge")
    if surge in (None, 0, "0", "0%"):
        return f"LeaderWorkerSet {name} will be updated: each group ends before its new one starts."
    return (
        f"LeaderWorkerSet {name} will be updated with maxSurge {surge}, which needs the GPUs of so many "
        "groups beside those that serve."
    )


def _of_runtime(cluster: Cluster, name: str, found: Object, identity: str) -> Iterator[str]:
    others = sorted(ownership.deployments(found) - {identity})
    if others:
        yield f"ServingRuntime {name} will be changed; {', '.join(others)} use it too."
    used = [
        service["metadata"]["name"]
        for service in users_of_runtime(cluster, name, str(found["metadata"].get("namespace") or ""))
        if identity not in ownership.deployments(service)
    ]
    if used and not others:
        yield f"ServingRuntime {name} will be changed; InferenceService {', '.join(used)} uses it too."


def users_of_runtime(cluster: Cluster, name: str, namespace: str) -> list[Object]:
    """The InferenceServices that name a ServingRuntime; none where they may not be listed."""
    try:
        return services_of_runtime(cluster, name, namespace)
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        return []


def services_of_runtime(cluster: Cluster, name: str, namespace: str) -> list[Object]:
    """The InferenceServices that name a ServingRuntime.

    Raises:
        MultinodeError: FORBIDDEN: they may not be listed.
    """
    try:
        services, _ = cluster.list(cluster.resource(*ownership.INFERENCE_SERVICE), namespace=namespace)
    except MultinodeError as error:
        if error.code != ExitCode.KIND_MISSING:
            raise
        return []
    return [one for one in services if _at(one, "spec", "predictor", "model", "runtime") == name]


def _at(body: Mapping[str, Any], *path: str) -> Any:
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value

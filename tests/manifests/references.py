"""What built objects name and select, and whether it is there."""

from collections.abc import Iterable, Iterator
from typing import Any

from manifests.folders import Object, of_kind, walk
from vllm_multinode.authoring.preview import preview

Labels = dict[str, str]

# What people make, by the end of its name: certificates, a hub's token.
BY_HAND = ("-tls", "hf-token")
# What a cluster brings: OpenShift's SCC, and the Secret into which it writes a Service's certificate.
OF_THE_CLUSTER = {("ClusterRole", "system:openshift:scc:vllm-multinode-rdma")}
_WORKLOADS = ("Deployment", "Job", "StatefulSet")


def pods(objects: Iterable[Object], release: str = "0.19.0") -> list[Labels]:
    """Labels of every pod that comes of the objects, KServe's own and LeaderWorkerSet's as they make them."""
    given = list(objects)
    seen = preview(given, release)
    found = [one["metadata"].get("labels") or {} for one in seen.objects if one["kind"] == "Pod"]
    for one in given:
        if one["kind"] in _WORKLOADS:
            found.append(one["spec"]["template"]["metadata"].get("labels") or {})
        if one["kind"] == "LeaderWorkerSet":
            template = one["spec"]["leaderWorkerTemplate"]
            found += [
                {
                    "leaderworkerset.sigs.k8s.io/name": one["metadata"]["name"],
                    "leaderworkerset.sigs.k8s.io/worker-index": "0" if part == "leaderTemplate" else "1",
                    **template[part]["metadata"]["labels"],
                }
                for part in ("leaderTemplate", "workerTemplate")
            ]
    return found


def selectors(one: Object) -> Iterator[tuple[str, Labels]]:
    """Where an object selects pods of its namespace, and by which labels."""
    spec = one.get("spec") or {}
    if one["kind"] == "Service" and spec.get("selector"):
        yield "spec.selector", spec["selector"]
    if one["kind"] in ("PodDisruptionBudget", "PodMonitor", "Deployment"):
        yield "spec.selector", spec["selector"]["matchLabels"]
    if one["kind"] == "NetworkPolicy":
        for path, value in walk(spec):
            # Peers of other namespaces are other people's pods.
            beside = _at(spec, path[:-1])
            if path and path[-1] == "podSelector" and "namespaceSelector" not in beside:
                yield ".".join(map(str, path)), value.get("matchLabels") or {}


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def names(one: Object) -> Iterator[tuple[str, str]]:
    """Other objects that an object names: (kind, name)."""
    kind, spec = one["kind"], one.get("spec") or {}
    if kind == "InferenceService":
        model = spec["predictor"]["model"]
        yield "ServingRuntime", model["runtime"]
        uri = model["storageUri"]
        if uri.startswith("pvc://"):
            yield "PersistentVolumeClaim", uri.removeprefix("pvc://").partition("/")[0]
    if kind == "Route":
        yield "Service", spec["to"]["name"]
    if kind == "RoleBinding":
        yield one["roleRef"]["kind"], one["roleRef"]["name"]
        yield from ((subject["kind"], subject["name"]) for subject in one["subjects"])
    for path, value in walk(one):
        if path and path[-1] in _NAMED:
            yield from _named(str(path[-1]), value)


# Fields that name one object, by its kind.
_NAMED = {
    "serviceAccountName": "ServiceAccount",
    "priorityClassName": "PriorityClass",
    "secretName": "Secret",
    "claimName": "PersistentVolumeClaim",
    "secretKeyRef": "Secret",
    "serving.kserve.io/inferenceservice": "InferenceService",
    "opendatahub.io/connections": "Secret",
    "backendRefs": "Service",
    "parentRefs": "Gateway",
    "certificateRefs": "Secret",
    "backend": "Service",
}


def _named(field: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield _NAMED[field], value
    elif isinstance(value, list):
        yield from ((_NAMED[field], one["name"]) for one in value)
    elif field == "backend":
        yield _NAMED[field], value["service"]["name"]
    elif not value.get("optional"):
        yield _NAMED[field], value["name"]


def unresolved(
    objects: Iterable[Object], elsewhere: Iterable[tuple[str, str]] = (), release: str = "0.19.0"
) -> list[str]:
    """Everything that names or selects nothing.

    Args:
        objects: of one folder.
        elsewhere: (kind, name) that the user has in the cluster.
        release: of KServe, whose pods are selected.
    """
    given = list(objects)
    there = {(one["kind"], one["metadata"]["name"]) for one in given} | OF_THE_CLUSTER | set(elsewhere)
    signed = "service.beta.openshift.io/serving-cert-secret-name"
    there |= {
        ("Secret", one["metadata"]["annotations"][signed])
        for one in of_kind(given, "Service")
        if signed in one["metadata"].get("annotations", {})
    }
    made = pods(given, release)
    found = [
        f"{one['kind']} {one['metadata']['name']}: {where} {labels} selects no pod"
        for one in given
        for where, labels in selectors(one)
        if labels and not any(labels.items() <= pod.items() for pod in made)
    ]
    found += [
        f"{one['kind']} {one['metadata']['name']} names {kind} {name}"
        for one in given
        for kind, name in names(one)
        if (kind, name) not in there and not (kind == "Secret" and name.endswith(BY_HAND))
    ]
    used = {name for one in given for kind, name in names(one) if kind == "PersistentVolumeClaim"}
    found += [
        f"nobody mounts PersistentVolumeClaim {one['metadata']['name']}"
        for one in of_kind(given, "PersistentVolumeClaim")
        if one["metadata"]["name"] not in used
    ]
    return found

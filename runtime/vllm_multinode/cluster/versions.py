"""Which release a cluster runs, and whether KServe's controller does."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from vllm_multinode.cluster.client import Cluster, Resource
from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import Release, find, require_multi_node

_CONTROLLER: Final = "kserve-controller-manager"
_NAMESPACES: Final = ("kserve", "redhat-ods-applications", "opendatahub")
"""Upstream, OpenShift AI, Open Data Hub; asked one by one where listing everywhere is not allowed."""
_TAG: Final = re.compile(r":v?(\d+\.\d+\.\d+)")
# What the operator of OpenShift AI or Open Data Hub writes on everything that it makes.
_PLATFORM_VERSION: Final = "platform.opendatahub.io/version"
_PLATFORM_TYPE: Final = "platform.opendatahub.io/type"
_OPEN_DATA_HUB: Final = "Open Data Hub"
_SERVICE_CRD: Final = "inferenceservices.serving.kserve.io"
_DATA_SCIENCE_CLUSTERS: Final = (
    "datasciencecluster.opendatahub.io/v1",
    "datasciencecluster.opendatahub.io/v2",
)
_OPERATOR: Final = "rhods-operator"
_OPERATOR_NAMESPACES: Final = ("redhat-ods-operator", "openshift-operators")
_ABSENT: Final = (ExitCode.FORBIDDEN, ExitCode.KIND_MISSING)


@dataclass(frozen=True)
class Controller:
    """KServe's controller.

    Attributes:
        namespace: that it runs in.
        version: from its image's tag or its labels; empty where neither says.
        available: replicas that are.
        marks: its annotations and labels.
    """

    namespace: str
    version: str
    available: int
    marks: Mapping[str, str]


class Seen(NamedTuple):
    """A release as something in the cluster names it.

    Attributes:
        name: as `platforms.releases.find` takes it; empty for a platform that has no record.
        said: as it stands there.
        place: where it stands.
    """

    name: str
    said: str
    place: str


_DEPLOYMENTS: Final = Resource("apps/v1", "Deployment", "deployments", namespaced=True)


def controller(cluster: Cluster) -> Controller | None:
    """KServe's controller; None where there is none, or this login may not look."""
    try:
        return listed_controller(cluster)
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
    bodies = (_get(cluster, "apps/v1", "Deployment", _CONTROLLER, namespace) for namespace in _NAMESPACES)
    found = next((body for body in bodies if body is not None), None)
    return None if found is None else _described(found)


def listed_controller(cluster: Cluster) -> Controller | None:
    """The same by one request; None where there is none.

    Raises:
        MultinodeError: FORBIDDEN: this login may not list deployments of all namespaces.
    """
    found, _ = cluster.list(_DEPLOYMENTS, everywhere=True, labels=f"control-plane={_CONTROLLER}")
    return _described(found[0]) if found else None


def release_of(cluster: Cluster, asked: Release | None = None) -> tuple[Release, str]:
    """The release that holds for this cluster, and a sentence on where it was read.

    Args:
        cluster: where to look.
        asked: by the user; it is taken as it is, and a cluster that says otherwise is quoted.

    Raises:
        MultinodeError: USAGE where it cannot be found out or drops workerSpec, KIND_MISSING without KServe.
    """
    if asked is not None:
        return require_multi_node(asked), f"{asked.remark} {_contradiction(cluster, asked)}".strip()
    cluster.resource("serving.kserve.io/v1beta1", "InferenceService")
    running = controller(cluster)
    seen = _seen(cluster, running)
    if seen is not None and seen.name:
        release = require_multi_node(find(seen.name))
        read = f"The cluster runs {release.label} ({seen.said}, says {seen.place})."
        return release, f"{read} {release.remark}".rstrip()
    if seen is not None:
        what = f"it runs {seen.said}, says {seen.place}"
    elif running is not None:
        what = f"the controller in namespace {running.namespace} does not say"
    else:
        what = "no controller can be seen"
    raise MultinodeError(
        ExitCode.USAGE,
        f"the cluster's release cannot be determined: {what}.",
        hint="Give it with --platform, such as openshift-ai-2.25 or kserve-0.19.0.",
    )


def _contradiction(cluster: Cluster, asked: Release) -> str:
    """A sentence where the cluster names another release than the user does."""
    seen = _seen(cluster, controller(cluster))
    try:
        release = find(seen.name) if seen is not None and seen.name else asked
    except MultinodeError:
        return ""
    if seen is None or release.name == asked.name:
        return ""
    return (
        f"{asked.label} was given and is used, although the cluster runs {release.label} according to "
        f"{seen.place}."
    )


def _seen(cluster: Cluster, running: Controller | None) -> Seen | None:
    """What names the release, the nearest to KServe first.

    The version of the component kserve in a DataScienceCluster's status is not asked: it is another number.
    """
    if running is not None:
        place = f"the Deployment {_CONTROLLER} in namespace {running.namespace}"
        if _PLATFORM_VERSION in running.marks:
            return _of_platform(running.marks, place)
        if running.version:
            return Seen(f"kserve-{running.version}", running.version, place)
    places: tuple[Callable[[Cluster], Seen | None], ...] = (_of_crd, _of_data_science_cluster, _of_operator)
    return next((seen for look in places if (seen := look(cluster)) is not None), None)


def _of_platform(marks: Mapping[str, str], place: str) -> Seen:
    version, kind = marks[_PLATFORM_VERSION], marks.get(_PLATFORM_TYPE, "")
    if kind == _OPEN_DATA_HUB:
        return Seen("", f"{kind} {version}, whose KServe is not known here", place)
    return Seen(f"openshift-ai-{version}", version, place)


def _of_crd(cluster: Cluster) -> Seen | None:
    body = _get(cluster, "apiextensions.k8s.io/v1", "CustomResourceDefinition", _SERVICE_CRD)
    marks = _marks(body)
    if _PLATFORM_VERSION not in marks:
        return None
    return _of_platform(marks, f"the CustomResourceDefinition {_SERVICE_CRD}")


def _of_data_science_cluster(cluster: Cluster) -> Seen | None:
    for api_version in _DATA_SCIENCE_CLUSTERS:
        for body in _list(cluster, api_version, "DataScienceCluster"):
            release = (body.get("status") or {}).get("release") or {}
            if release.get("version"):
                marks = {_PLATFORM_VERSION: str(release["version"]), _PLATFORM_TYPE: str(release.get("name"))}
                return _of_platform(marks, f"the DataScienceCluster {body['metadata']['name']}")
    return None


def _of_operator(cluster: Cluster) -> Seen | None:
    for namespace in (*_OPERATOR_NAMESPACES, ""):
        for body in _list(cluster, "operators.coreos.com/v1alpha1", "ClusterServiceVersion", namespace):
            name = str(body["metadata"]["name"])
            operator, _, version = name.partition(".")
            if operator == _OPERATOR and version:
                return Seen(f"openshift-ai-{version}", version, f"the ClusterServiceVersion {name}")
    return None


def _get(cluster: Cluster, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
    """One object; None where there is none, or this login may not see it."""
    try:
        return cluster.get(cluster.resource(api_version, kind), name, namespace)
    except MultinodeError as error:
        if error.code not in _ABSENT:
            raise
        return None


def _list(cluster: Cluster, api_version: str, kind: str, namespace: str = "") -> list[Object]:
    """The objects of a kind; none where the API does not serve it, or this login may not see them."""
    try:
        return cluster.list(cluster.resource(api_version, kind), namespace=namespace)[0]
    except MultinodeError as error:
        if error.code not in _ABSENT:
            raise
        return []


def _marks(body: Mapping[str, Any] | None) -> dict[str, str]:
    """Labels and annotations together."""
    metadata = (body or {}).get("metadata") or {}
    return {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}


def _described(deployment: Object) -> Controller:
    marks = _marks(deployment)
    images = [
        str(container.get("image") or "")
        for container in deployment["spec"]["template"]["spec"].get("containers") or []
        if "kserve" in str(container.get("image"))
    ]
    texts = [*images, f":{marks.get('app.kubernetes.io/version') or ''}"]
    tags = [tag[1] for text in texts if (tag := _TAG.search(text))]
    return Controller(
        namespace=str(deployment["metadata"].get("namespace")),
        version=tags[0] if tags else "",
        available=int((deployment.get("status") or {}).get("availableReplicas") or 0),
        marks=marks,
    )

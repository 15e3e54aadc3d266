"""Which KServe a cluster runs, and whether its controller does."""

import re
from dataclasses import dataclass
from typing import Final

from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import Release, find_multi_node, known_numbers

_CONTROLLER: Final = "kserve-controller-manager"
_NAMESPACES: Final = ("kserve", "redhat-ods-applications", "opendatahub")
"""Upstream, OpenShift AI, Open Data Hub; asked one by one where listing everywhere is not allowed."""
_TAG: Final = re.compile(r":v?(\d+\.\d+\.\d+)")
_PLATFORM: Final = "platform.opendatahub.io/version"


@dataclass(frozen=True)
class Controller:
    """KServe's controller.

    Attributes:
        namespace: that it runs in.
        version: from its image's tag or its labels; empty where neither says.
        platform: version of OpenShift AI, where that brought it.
        available: replicas that are.
    """

    namespace: str
    version: str
    platform: str
    available: int


def controller(cluster: Cluster) -> Controller | None:
    """KServe's controller; None where there is none, or this login may not look."""
    deployment = cluster.resource("apps/v1", "Deployment")
    try:
        found, _ = cluster.list(deployment, everywhere=True, labels=f"control-plane={_CONTROLLER}")
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        found = [one for namespace in _NAMESPACES if (one := _readable(cluster, namespace)) is not None]
    return _described(found[0]) if found else None


def _readable(cluster: Cluster, namespace: str) -> Object | None:
    try:
        return cluster.get(cluster.resource("apps/v1", "Deployment"), _CONTROLLER, namespace)
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        return None


def _described(deployment: Object) -> Controller:
    metadata = deployment["metadata"]
    words = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
    images = [
        str(container.get("image") or "")
        for container in deployment["spec"]["template"]["spec"].get("containers") or []
        if "kserve" in str(container.get("image"))
    ]
    said = [*images, ":" + str(words.get("app.kubernetes.io/version") or "")]
    tags = [tag[1] for text in said if (tag := _TAG.search(text))]
    platform = str(words.get(_PLATFORM) or "")
    return Controller(
        namespace=str(metadata.get("namespace")),
        version="" if platform or not tags else tags[0],
        platform=platform,
        available=int((deployment.get("status") or {}).get("availableReplicas") or 0),
    )


def release_of(cluster: Cluster, asked: str = "") -> tuple[Release, str]:
    """The release that this cluster runs, and a remark on it.

    Args:
        cluster: where to look.
        asked: by the user; it is taken as it is.

    Raises:
        MultinodeError: USAGE where it cannot be found out, KIND_MISSING without KServe.
    """
    if asked:
        release = find_multi_node(asked)
        return release, release.remark
    cluster.resource("serving.kserve.io/v1beta1", "InferenceService")
    found = controller(cluster)
    if found is not None and found.version:
        release = find_multi_node(found.version)
        return release, release.remark or f"KServe {found.version} in namespace {found.namespace}."
    what = "no controller can be seen"
    if found is not None:
        what = f"the controller in namespace {found.namespace} does not say"
        if found.platform:
            what = f"it is that of OpenShift AI {found.platform}"
    raise MultinodeError(
        ExitCode.USAGE,
        f"the cluster's KServe version cannot be found out: {what}.",
        hint=f"Give it with --kserve; one of {known_numbers()}.",
    )

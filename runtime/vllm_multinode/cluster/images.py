"""The image of vLLM that a platform supports: the one that its own runtime for several nodes runs."""

from typing import Final

from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import Release

TEMPLATE: Final = "vllm-multinode-runtime-template"
_TEMPLATES: Final = ("template.openshift.io/v1", "Template")
_NAMESPACES: Final = ("redhat-ods-applications", "opendatahub")


def supported_image(cluster: Cluster, release: Release | None) -> str:
    """Read OpenShift AI's image from its template; empty elsewhere, and where it cannot be read.

    Args:
        cluster: where the platform runs.
        release: what runs there.
    """
    if release is None or not release.names_engine_image:
        return ""
    for namespace in _NAMESPACES:
        try:
            found = cluster.get(cluster.resource(*_TEMPLATES), TEMPLATE, namespace)
        except MultinodeError as error:
            if error.code not in (ExitCode.FORBIDDEN, ExitCode.KIND_MISSING):
                raise
            return ""
        for runtime in (found or {}).get("objects") or []:
            for container in (runtime.get("spec") or {}).get("containers") or []:
                if image := str(container.get("image") or ""):
                    return image
    return ""

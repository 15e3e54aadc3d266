"""The claim in the cluster that a model is copied from (file://claim/folder)."""

from vllm_multinode.cluster import ownership
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

_SCHEME = "file://"


def size_of(cluster: Cluster, source: str) -> str | None:
    """What the claim of a source holds, which the model in it cannot exceed; None for any other source.

    Args:
        cluster: where it is.
        source: as `model.source`.

    Raises:
        MultinodeError: MISSING, where the claim is not there.
    """
    if not source.startswith(_SCHEME):
        return None
    name = source.removeprefix(_SCHEME).partition("/")[0]
    found = cluster.get(cluster.resource(*ownership.CLAIM), name)
    if found is None:
        raise MultinodeError(
            ExitCode.MISSING,
            f"does not exist, and {source} copies from it. Nothing was written.",
            where=f"PersistentVolumeClaim {cluster.namespace}/{name}",
            hint="Give a claim of this namespace in model.source.",
        )
    capacity = (found.get("status") or {}).get("capacity") or {}
    asked = ((found.get("spec") or {}).get("resources") or {}).get("requests") or {}
    size = capacity.get("storage") or asked.get("storage")
    return None if size is None else str(size)

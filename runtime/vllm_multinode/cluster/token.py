"""The group's token: made once, on the cluster, and in no file."""

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vllm_multinode.authoring.render.names import TOKEN_VOLUME
from vllm_multinode.cluster import ownership
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract import labels
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

Body = Mapping[str, Any]

KEY: Final = "token"
_BYTES: Final = 32


def with_tokens(cluster: Cluster, bodies: Sequence[Body]) -> list[Body]:
    """The objects, and each token Secret that their pods mount and that nobody else has made.

    One that an earlier deployment made keeps its token; somebody else's is left alone.

    Args:
        cluster: where.
        bodies: the objects of a deployment.
    """
    brought = {
        str((body.get("metadata") or {}).get("name")) for body in bodies if body.get("kind") == "Secret"
    }
    named = dict.fromkeys(name for body in bodies for name in _mounted(body) if name not in brought)
    return [*bodies, *(secret for name in named if (secret := _secret(cluster, name)) is not None)]


def _mounted(body: Body) -> Iterator[str]:
    """Names of the Secrets that a service's pods have as their token."""
    if body.get("kind") not in ownership.SERVICES:
        return
    waiting: list[object] = [body.get("spec")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            secret = value.get("secret")
            if value.get("name") == TOKEN_VOLUME and isinstance(secret, dict):
                yield str(secret.get("secretName"))
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def _secret(cluster: Cluster, name: str) -> Body | None:
    try:
        found = cluster.get(cluster.resource("v1", "Secret"), name)
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        # Who may not look may not know whether it is there; the pods will say it.
        return None
    if found is None:
        data = {KEY: base64.b64encode(secrets.token_hex(_BYTES).encode()).decode()}
    elif (found["metadata"].get("labels") or {}).get(labels.MANAGED_BY) == labels.MANAGER:
        data = found.get("data") or {}
    else:
        return None
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {labels.MANAGED_BY: labels.MANAGER}},
        "type": "Opaque",
        "data": data,
    }

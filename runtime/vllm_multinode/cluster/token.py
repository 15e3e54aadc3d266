"""The group's token: made once, on the cluster, and in no file."""

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vllm_multinode.authoring.render.names import TOKEN_VOLUME
from vllm_multinode.authoring.render.secrets import ROLE
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

    One that an earlier deployment made keeps its token; somebody else's is left alone. A Secret without data
    is filled here, so the Job that would fill it, with the rights it needs, is left out.

    Args:
        cluster: where.
        bodies: the objects of a deployment.
    """
    empty = [_name(body) for body in bodies if body.get("kind") == "Secret" and _is_empty(body)]
    brought = {_name(body) for body in bodies if body.get("kind") == "Secret"}
    mounted = dict.fromkeys(name for body in bodies for name in _mounted(body) if name not in brought)
    keys = {name: key for body in bodies for name, key in _keys(body)}
    try:
        secrets_of = {name: _secret(cluster, name, keys.get(name, KEY)) for name in (*empty, *mounted)}
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        # Who may not look may not know whether it is there: the Job fills it, or the pods say what is
        # missing.
        return list(bodies)
    kept = [
        body
        for body in bodies
        if not (_fills_secrets(body) or (body.get("kind") == "Secret" and _name(body) in empty))
    ]
    return [*kept, *(secret for secret in secrets_of.values() if secret is not None)]


def _name(body: Body) -> str:
    return str((body.get("metadata") or {}).get("name"))


def _is_empty(body: Body) -> bool:
    return not body.get("data") and not body.get("stringData")


def _fills_secrets(body: Body) -> bool:
    own = (body.get("metadata") or {}).get("labels") or {}
    return body.get("kind") != "Secret" and own.get(labels.COMPONENT) == ROLE


def _keys(body: Body) -> Iterator[tuple[str, str]]:
    """Secrets and the key of each that a service's pods ask for."""
    for value in _mappings(body.get("spec")) if body.get("kind") in ownership.SERVICES else ():
        reference, volume = value.get("secretKeyRef"), value.get("secret")
        if isinstance(reference, dict):
            yield str(reference.get("name")), str(reference.get("key"))
        if isinstance(volume, dict) and volume.get("items"):
            yield str(volume.get("secretName")), str(volume["items"][0].get("key"))


def _mappings(inside: object) -> Iterator[Mapping[str, Any]]:
    waiting: list[object] = [inside]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def _mounted(body: Body) -> Iterator[str]:
    """Names of the Secrets that a service's pods have as their token."""
    if body.get("kind") not in ownership.SERVICES:
        return
    for value in _mappings(body.get("spec")):
        secret = value.get("secret")
        if value.get("name") == TOKEN_VOLUME and isinstance(secret, dict):
            yield str(secret.get("secretName"))


def _secret(cluster: Cluster, name: str, key: str) -> Body | None:
    """The Secret with a value under the key, an earlier one's where it has one; None for somebody else's."""
    found = cluster.get(cluster.resource("v1", "Secret"), name) or {}
    own = (found.get("metadata") or {}).get("labels") or {}
    if found and own.get(labels.MANAGED_BY) != labels.MANAGER:
        return None
    data = dict(found.get("data") or {})
    if not data.get(key):
        data[key] = base64.b64encode(secrets.token_hex(_BYTES).encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {labels.MANAGED_BY: labels.MANAGER}},
        "type": "Opaque",
        "data": data,
    }

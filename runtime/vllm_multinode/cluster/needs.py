"""What a deployment refers to and does not bring: looked for before the first object is written."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from vllm_multinode.authoring.render.fetch import DOCKER_KEY
from vllm_multinode.authoring.render.publish import SERVING_CERTIFICATE
from vllm_multinode.cluster import devices, ownership
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.quantity import parse

Body = Mapping[str, Any]

TLS_KEY: Final = "tls.crt"
_CERT_MANAGER: Final = "cert-manager.io/"
_STORAGE_CLASS: Final = ("storage.k8s.io/v1", "StorageClass")
_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_SHARED: Final = frozenset({"ReadWriteMany", "ReadOnlyMany"})


class SecretNeed(NamedTuple):
    """A key of a Secret that a pod does not start without; any key where it is empty."""

    name: str
    key: str


def check(cluster: Cluster, bodies: Sequence[Body]) -> None:
    """Refuse what lacks something, the first thing by name.

    Raises:
        MultinodeError: MISSING.
    """
    brought = {(str(body.get("kind")), str((body.get("metadata") or {}).get("name"))) for body in bodies}
    brought |= {("Secret", name) for body in bodies if (name := _issued(body))}
    for need in dict.fromkeys(need for body in bodies for need in secrets_of(body)):
        if ("Secret", need.name) not in brought:
            _check_secret(cluster, need)
    for body in bodies:
        if body.get("kind") == "PersistentVolumeClaim":
            _check_claim(cluster, body)
    devices.check(cluster, bodies)


def secrets_of(body: Body) -> Iterator[SecretNeed]:
    """Every Secret that a body's pods name and do not start without."""
    for value in _mappings(body):
        key_reference, whole, volume = (value.get(name) for name in ("secretKeyRef", "secretRef", "secret"))
        if isinstance(key_reference, dict) and not key_reference.get("optional"):
            yield SecretNeed(str(key_reference.get("name")), str(key_reference.get("key") or ""))
        if isinstance(whole, dict) and not whole.get("optional"):
            yield SecretNeed(str(whole.get("name")), "")
        if isinstance(volume, dict) and volume.get("secretName") and not volume.get("optional"):
            keys = [str(item.get("key")) for item in volume.get("items") or []] or [""]
            yield from (SecretNeed(str(volume["secretName"]), key) for key in keys)
    yield from _certificates(body)


def _certificates(body: Body) -> Iterator[SecretNeed]:
    """The certificates of an Ingress or Gateway, unless cert-manager makes them."""
    annotations = (body.get("metadata") or {}).get("annotations") or {}
    if any(str(key).startswith(_CERT_MANAGER) for key in annotations):
        return
    spec = body.get("spec") or {}
    if body.get("kind") == "Ingress":
        names = [one.get("secretName") for one in spec.get("tls") or []]
    elif body.get("kind") == "Gateway":
        listeners = [one.get("tls") or {} for one in spec.get("listeners") or []]
        names = [one.get("name") for tls in listeners for one in tls.get("certificateRefs") or []]
    else:
        return
    yield from (SecretNeed(str(name), TLS_KEY) for name in names if name)


def _issued(body: Body) -> str:
    """The Secret that OpenShift makes for a Service; empty where it makes none."""
    annotations = (body.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(SERVING_CERTIFICATE) or "") if body.get("kind") == "Service" else ""


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for one in inner:
        yield from _mappings(one)


def _check_secret(cluster: Cluster, need: SecretNeed) -> None:
    try:
        found = cluster.get(cluster.resource("v1", "Secret"), need.name)
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        # Not everybody may read Secrets; the pods will say it.
        return
    if found is not None and (not need.key or need.key in (found.get("data") or {})):
        return
    what = "is not there" if found is None else f"has no key {need.key}"
    raise MultinodeError(
        ExitCode.MISSING,
        f"{what}, and {_wants(need)}. Nothing was written.",
        where=f"Secret {cluster.namespace}/{need.name}",
        hint=f"Make it: {_command(cluster, need)}.",
    )


def _wants(need: SecretNeed) -> str:
    return "TLS needs it" if need.key == TLS_KEY else "the pods do not start without it"


def _command(cluster: Cluster, need: SecretNeed) -> str:
    """What makes the Secret."""
    if need.key == TLS_KEY:
        return f"kubectl create secret tls {need.name} -n {cluster.namespace} --cert=FILE --key=FILE"
    make = f"kubectl create secret generic {need.name} -n {cluster.namespace}"
    if need.key == DOCKER_KEY:
        make += " --type=kubernetes.io/dockerconfigjson"
    return f"{make} --from-file={need.key}=FILE" if need.key else f"{make} --from-env-file=FILE"


def _check_claim(cluster: Cluster, body: Body) -> None:
    spec, name = body.get("spec") or {}, str((body.get("metadata") or {}).get("name"))
    where = f"PersistentVolumeClaim {cluster.namespace}/{name}"
    present = cluster.get(cluster.resource(*ownership.CLAIM), name)
    if present is not None:
        _check_present(present, spec, where)
        return
    asked = spec.get("storageClassName")
    try:
        classes, _ = cluster.list(cluster.resource(*_STORAGE_CLASS))
    except MultinodeError as error:
        if error.code not in (ExitCode.FORBIDDEN, ExitCode.KIND_MISSING):
            raise
        return
    names = sorted(str(one["metadata"]["name"]) for one in classes)
    known = f"there are {', '.join(names)}" if names else "there is none"
    if asked and asked not in names:
        raise MultinodeError(
            ExitCode.MISSING,
            f"its storage class {asked} does not exist. Nothing was written.",
            where=where,
            hint=f"In this cluster {known}; name one that offers ReadWriteMany.",
        )
    if not asked and not any(_is_default(one) for one in classes):
        raise MultinodeError(
            ExitCode.MISSING,
            "it has no storage class, and the cluster has no default. Nothing was written.",
            where=where,
            hint=f"In this cluster {known}; name one in model.createClaim.storageClassName, or for "
            "`multinode up` with --storage-class.",
        )


def _is_default(storage_class: Body) -> bool:
    annotations = (storage_class.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(_DEFAULT_CLASS)) == "true"


def _check_present(present: Body, wanted: Body, where: str) -> None:
    spec = present.get("spec") or {}
    modes = set(spec.get("accessModes") or [])
    if set(wanted.get("accessModes") or []) & _SHARED and not modes & _SHARED:
        raise MultinodeError(
            ExitCode.MISSING,
            f"has the access mode {', '.join(sorted(modes))}: not every node can mount it. Nothing was "
            "written.",
            where=where,
            hint="A claim's access modes cannot be changed: use another claim.",
        )
    has, asks = _storage(spec), _storage(wanted)
    if has is not None and asks is not None and parse(has) < parse(asks):
        raise MultinodeError(
            ExitCode.MISSING,
            f"has {has}, but {asks} are needed. Nothing was written.",
            where=where,
            hint="Expand it (kubectl edit) if its class allows that, or use another claim.",
        )


def _storage(spec: Body) -> str | None:
    value = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    return None if value is None else str(value)

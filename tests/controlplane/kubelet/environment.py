"""A container's variables and command line, from the Pod's spec."""

import re
import shutil
from collections.abc import Mapping
from typing import Any, Final

from controlplane.kubelet.api import MissingError
from controlplane.kubelet.volumes import Files
from vllm_multinode.local.world.pod_spec import PodField

_REFERENCE: Final = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")
_ADDRESS: Final = "status.podIP"
_KEYED: Final = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def variables(
    pod: Mapping[str, Any], container: Mapping[str, Any], image: Mapping[str, str], files: Files
) -> tuple[dict[str, str], dict[str, PodField]]:
    """Every variable with its value, and those whose value is the Pod's address, which is known later.

    Args:
        pod: as the API server has it.
        container: one of its containers.
        image: what the image sets.
        files: what a ConfigMap or Secret holds.

    Raises:
        ValueError: a value comes from where this kubelet cannot get it.
        MissingError: a Secret is not there.
    """
    values = dict(image)
    for source in container.get("envFrom", []):
        values |= _every_key(source, files)
    later: dict[str, PodField] = {}
    for one in container.get("env", []):
        name = one["name"]
        later.pop(name, None)
        source = one.get("valueFrom")
        if source is None:
            values[name] = expand(one.get("value", ""), values)
        elif source.get("fieldRef", {}).get("fieldPath") == _ADDRESS:
            values.pop(name, None)
            later[name] = _ADDRESS
        elif "fieldRef" in source:
            values[name] = _field(pod, source["fieldRef"]["fieldPath"])
        elif "secretKeyRef" in source:
            secret = _secret(source["secretKeyRef"], files)
            if secret is not None:
                values[name] = secret
        else:
            raise ValueError(f"{name}: a value from {', '.join(source)} is not for this kubelet")
    return values, later


def command_line(container: Mapping[str, Any], values: Mapping[str, str]) -> tuple[str, ...]:
    """The program, by its path, and its arguments.

    Raises:
        ValueError: there is no command, or no such program.
    """
    words = [expand(word, values) for word in (*container.get("command", ()), *container.get("args", ()))]
    program = shutil.which(words[0], path=values.get("PATH", "")) if container.get("command") else None
    if program is None:
        raise ValueError(f"{container['name']}: no program {words[:1]} on PATH")
    return (program, *words[1:])


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` becomes that variable's value where there is one, and `$$` a dollar."""

    def found(match: re.Match[str]) -> str:
        name = match[2]
        return "$" if name is None else values.get(name, match[0])

    return _REFERENCE.sub(found, text)


def _secret(reference: Mapping[str, Any], files: Files) -> str | None:
    held = files("secrets", reference["name"]) or {}
    if reference["key"] in held:
        return held[reference["key"]].decode()
    if not reference.get("optional", False):
        raise MissingError(f"there is no {reference['key']} in secrets {reference['name']}")
    return None


def _every_key(source: Mapping[str, Any], files: Files) -> dict[str, str]:
    """What `envFrom` brings from a ConfigMap or Secret."""
    kind, reference = (
        ("secrets", source["secretRef"]) if "secretRef" in source else ("configmaps", source["configMapRef"])
    )
    held = files(kind, reference["name"])
    if held is None and not reference.get("optional", False):
        raise MissingError(f"there is no {kind} {reference['name']}")
    prefix = source.get("prefix", "")
    return {prefix + key: value.decode() for key, value in (held or {}).items()}


def _field(pod: Mapping[str, Any], path: str) -> str:
    """A field of the downward API."""
    metadata = pod["metadata"]
    if keyed := _KEYED.fullmatch(path):
        return str(metadata.get(keyed[1], {}).get(keyed[2], ""))
    holder, _, field = path.partition(".")
    if path in ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName"):
        return str(pod[holder][field])
    raise ValueError(f"the field {path} is not for this kubelet")

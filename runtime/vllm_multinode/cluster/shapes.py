"""What every object of the Kubernetes API looks like, as far as it is read here.

An API server has checked what it gives. What answers in its place has not: a proxy, a stand-in, a stranger.
"""

from collections.abc import Iterator
from typing import Any, Final

_TYPES: Final = {"mapping": dict, "list": list, "text": str}
_TEXTS: Final = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "resourceVersion")
_CONTAINER: Final = {
    "": "mapping",
    ".name": "text",
    ".image": "text",
    ".args": "list",
    ".command": "list",
    ".env": "list",
    ".env[]": "mapping",
    ".env[].name": "text",
    ".resources": "mapping",
    ".resources.limits": "mapping",
    ".resources.requests": "mapping",
    ".volumeMounts": "list",
    ".volumeMounts[]": "mapping",
}
_STATUS: Final = {
    "": "mapping",
    ".name": "text",
    ".state": "mapping",
    ".state.waiting": "mapping",
    ".state.running": "mapping",
    ".state.terminated": "mapping",
    ".lastState": "mapping",
    ".lastState.terminated": "mapping",
}
_POD: Final = {
    f"{field}{inner}": kind
    for field in ("containers", "initContainers")
    for inner, kind in {"": "list", **{f"[]{key}": value for key, value in _CONTAINER.items()}}.items()
} | {"volumes": "list", "volumes[]": "mapping", "tolerations": "list", "tolerations[]": "mapping"}
_EXPECTED: Final = {
    "metadata": "mapping",
    **{f"metadata.{name}": "text" for name in _TEXTS},
    **{f"metadata.{name}{inner}": kind for name in ("labels", "annotations")
       for inner, kind in (("", "mapping"), ("{}", "text"))},
    "metadata.ownerReferences": "list",
    "metadata.ownerReferences[]": "mapping",
    "metadata.finalizers": "list",
    "spec": "mapping",
    **{f"spec.{path}": kind for path, kind in _POD.items()},
    "spec.template": "mapping",
    "spec.template.metadata": "mapping",
    "spec.template.spec": "mapping",
    **{f"spec.template.spec.{path}": kind for path, kind in _POD.items()},
    "spec.predictor": "mapping",
    "spec.predictor.model": "mapping",
    "spec.predictor.workerSpec": "mapping",
    **{f"spec.predictor.{path}": kind for path, kind in _POD.items()},
    "spec.workerSpec": "mapping",
    "spec.leaderWorkerTemplate": "mapping",
    "spec.resources": "mapping",
    "status": "mapping",
    "status.phase": "text",
    "status.conditions": "list",
    "status.conditions[]": "mapping",
    **{f"status.conditions[].{name}": "text" for name in ("type", "status", "reason", "message")},
    **{
        f"status.{field}{inner}": kind
        for field in ("containerStatuses", "initContainerStatuses")
        for inner, kind in {"": "list", **{f"[]{key}": value for key, value in _STATUS.items()}}.items()
    },
    "status.capacity": "mapping",
    "status.allocatable": "mapping",
    "involvedObject": "mapping",
    "data": "mapping",
}  # fmt: skip


def fault_of(found: object) -> str:
    """The first place of an object that has another type than Kubernetes gives it, or ""."""
    if not isinstance(found, dict):
        return "it is no mapping"
    for path, kind in _EXPECTED.items():
        for value in _at(found, path):
            if value is not None and not isinstance(value, _TYPES[kind]):
                return f"{path} is no {kind}"
    return ""


def _at(found: Any, path: str) -> Iterator[Any]:
    """What stands at a path; nothing where what is above it is absent, or of another type."""
    head, dot, rest = path.partition(".")
    name = head.removesuffix("[]").removesuffix("{}")
    if not isinstance(found, dict) or name not in found:
        return
    values = [found[name]]
    if head.endswith("[]"):
        values = list(found[name]) if isinstance(found[name], list) else []
    elif head.endswith("{}"):
        values = list(found[name].values()) if isinstance(found[name], dict) else []
    for value in values:
        if dot:
            yield from _at(value, rest)
        else:
            yield value

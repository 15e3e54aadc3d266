"""Accelerators of a container: which resources KServe takes for GPUs, and how many a container asks for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm_multinode.k8s import quantity
from vllm_multinode.platforms import names

_BASIC: Final = frozenset({"cpu", "memory", "storage", "ephemeral-storage"})


class GpuTypesError(ValueError):
    """The annotation `serving.kserve.io/gpu-resource-types` is not a JSON list of names."""


def allowed(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The GPU resources that an object's annotations allow, KServe's own four first.

    Raises:
        GpuTypesError: with KServe's text.
    """
    written = annotations.get(names.GPU_TYPES, "")
    if not written:
        return names.GPU_RESOURCES
    try:
        types = json.loads(written)
    except (ValueError, RecursionError):
        types = None
    if not isinstance(types, list) or not types or not all(isinstance(one, str) and one for one in types):
        raise GpuTypesError(
            f"invalid GPU format({written}) for {names.GPU_TYPES} annotation: must be a valid JSON array"
        )
    return tuple(dict.fromkeys((*names.GPU_RESOURCES, *types)))


def unknown(container: Mapping[str, Any], annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Resources of a container that are neither basic nor a GPU that the annotations allow.

    Raises:
        GpuTypesError: with KServe's text.
    """
    known = {*allowed(annotations), *_BASIC}
    return tuple(name for name in resources(container) if name not in known)


def resources(container: Mapping[str, Any]) -> list[str]:
    """Names under limits and requests, each once."""
    asked = container.get("resources") or {}
    return list(dict.fromkeys((*(asked.get("limits") or {}), *(asked.get("requests") or {}))))


def requested(container: Mapping[str, Any], types: Sequence[str] = names.GPU_RESOURCES) -> int:
    """GPUs under requests, as KServe counts them: of its own four types, whatever else is allowed."""
    requests = (container.get("resources") or {}).get("requests") or {}
    for name in types:
        if name in requests:
            return int(quantity.parse(requests[name]))
    return 0


def resource_of(container: Mapping[str, Any], types: Sequence[str]) -> str:
    """The GPU resource that a count is written to: the first of `types` that the container names."""
    asked = container.get("resources") or {}
    for name in types:
        for part in ("limits", "requests"):
            value = (asked.get(part) or {}).get(name)
            if value is not None and quantity.parse(value) != 0:
                return name
    return names.NVIDIA


def held(pod: Mapping[str, Any]) -> tuple[int, str]:
    """Accelerators that a pod takes, and the resource that they are asked for under."""
    counts: dict[str, int] = {}
    for container in pod.get("containers") or []:
        asked = container.get("resources") or {}
        for name, value in {**(asked.get("requests") or {}), **(asked.get("limits") or {})}.items():
            if is_gpu(name):
                counts[name] = counts.get(name, 0) + int(quantity.parse(value))
    resource = max(counts, key=lambda name: counts[name], default="")
    return counts.get(resource, 0), resource


def is_gpu(resource: str) -> bool:
    """Whether a resource is a device, `vendor/thing`, and neither Kubernetes' nor the network's."""
    domain, _, thing = resource.partition("/")
    return (
        bool(thing)
        and not domain.endswith("kubernetes.io")
        and not domain.startswith(("rdma", "openshift.io"))
    )

"""From a field of a pod that KServe makes back to the field of the InferenceService that decides it."""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.contract.finding import Path
from vllm_multinode.k8s.access import at, listed
from vllm_multinode.k8s.merge import MERGE_KEYS
from vllm_multinode.platforms import names
from vllm_multinode.platforms.simulation import Body

_PREDICTOR: Final[Path] = ("spec", "predictor")
_MAIN: Final = {
    "head": (names.HEAD_CONTAINER, _PREDICTOR, (*_PREDICTOR, "model")),
    "worker": (
        names.WORKER_CONTAINER,
        (*_PREDICTOR, "workerSpec"),
        (*_PREDICTOR, "workerSpec", "containers", 0),
    ),
}
_STRATEGY: Final = "deploymentStrategy"


def origin(service: Body, role: str, pod: Mapping[str, Any], path: Path) -> Path:
    """The path in an InferenceService that a path in its head's or workers' pod comes from.

    Items of merged lists are found by their keys. What the ServingRuntime alone says has no place there: then
    the path of the nearest field around it.

    Args:
        service: the InferenceService.
        role: head or worker.
        pod: the pod's spec.
        path: in it.
    """
    main, whole, container = _MAIN[role]
    if not path or path[0] == _STRATEGY:
        return (*_PREDICTOR, *path)
    if path[0] not in ("containers", "initContainers") or len(path) == 1:
        return _followed(service, whole, pod, path)
    name = at(pod, *path[:2], "name")
    if name == main:
        return _followed(service, container, at(pod, *path[:2]), path[2:])
    return _followed(service, whole, pod, path)


def _followed(service: Body, base: Path, pod: Any, path: Path) -> Path:
    """`path` below `base`, as far as the service has it."""
    place = base
    for depth, step in enumerate(path):
        value = at(pod, *path[:depth])
        if isinstance(step, int) and isinstance(value, list):
            key = MERGE_KEYS.get(str(path[depth - 1]), "name")
            wanted = at(value[step], key)
            items = listed(service, *place)
            index = next((number for number, item in enumerate(items) if at(item, key) == wanted), None)
            if index is None:
                return place if at(service, *place) is not None else place[:-1]
            place = (*place, index)
        elif at(service, *place, step) is None:
            return (*place, step) if not isinstance(step, int) and depth == len(path) - 1 else place
        else:
            place = (*place, step)
    return place

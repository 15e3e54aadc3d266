"""Kubernetes' strategic merge of pod specs and containers: an InferenceService laid over its ServingRuntime.

Lists whose items have a merge key are merged item by item; every other list is replaced. The order of a
merged list is Kubernetes' own (k8s.io/apimachinery/pkg/util/strategicpatch): what the patch names keeps the
patch's order, what only the original has is put before the first item of the patch that it preceded.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm_multinode.k8s import quantity

Node = dict[str, Any]

# k8s.io/api/core/v1: the fields tagged patchStrategy "merge", with their patchMergeKey.
MERGE_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "schedulingGates": "name",
    "resourceClaims": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}

# Fields that Go leaves out when they are empty or zero, so that a patch cannot set them back.
_QUANTITIES: Final = frozenset({"limits", "requests", "overhead"})
_MAPS: Final = _QUANTITIES | frozenset({"nodeSelector", "labels", "annotations", "matchLabels"})
_KEPT: Final = frozenset({"name", "mountPath"})
_PLAIN_BOOLEANS: Final = frozenset(
    {"hostNetwork", "hostPID", "hostIPC", "readOnly", "stdin", "stdinOnce", "tty"}
)
_PLAIN_NUMBERS: Final = frozenset(
    {
        "hostPort",
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    }
)


def strategic_merge(original: Mapping[str, Any], patch: Mapping[str, Any]) -> Node:
    """`patch` laid over `original`; neither is changed.

    Raises:
        ValueError: an item of a merged list lacks its merge key.
    """
    merged: Node = dict(original)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
            continue
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = strategic_merge(before, value)
        elif isinstance(before, list) and isinstance(value, list) and key in MERGE_KEYS:
            merged[key] = _merge_list(before, value, MERGE_KEYS[key])
        else:
            merged[key] = value
    return merged


def as_go_writes(value: Any, key: str = "") -> Any:
    """The value as Go's JSON writes a Kubernetes object.

    No nulls, no empty field that `omitempty` drops, and quantities in their canonical form; what should be a
    quantity and is none stays as it is.
    """
    if isinstance(value, Mapping):
        if key in _MAPS:
            kept = {name: item for name, item in value.items() if item is not None}
            return {name: _quantity(item) for name, item in kept.items()} if key in _QUANTITIES else kept
        kept = {name: as_go_writes(item, str(name)) for name, item in value.items()}
        return {name: item for name, item in kept.items() if not _is_zero(item, name)}
    if isinstance(value, list):
        return [as_go_writes(item, key) for item in value]
    return _quantity(value, places=9) if key == "sizeLimit" else value


def _quantity(value: Any, places: int = 3) -> Any:
    try:
        return quantity.canonical(value, places)
    except ValueError:
        return value


def _is_zero(value: Any, key: str) -> bool:
    if value is None or value == []:
        return True
    if value == "":
        return key not in _KEPT
    if value == {}:
        return key in _MAPS
    if value is False:
        return key in _PLAIN_BOOLEANS
    return value == 0 and not isinstance(value, bool) and key in _PLAIN_NUMBERS


def _merge_list(original: Sequence[Node], patch: Sequence[Node], key: str) -> list[Node]:
    if not original or not patch:
        return [dict(item) for item in (original or patch)]
    for item in (*original, *patch):
        if not isinstance(item, Mapping) or key not in item:
            raise ValueError(f"an item lacks its key '{key}'.")
    merged: list[Node] = [dict(item) for item in original]
    for item in patch:
        place = _index(merged, item[key], key)
        if place is None:
            merged.append(dict(item))
        else:
            merged[place] = strategic_merge(merged[place], item)
    named = [item[key] for item in patch]
    from_patch = [item for item in merged if item[key] in named]
    from_patch.sort(key=lambda item: named.index(item[key]))
    order = [item[key] for item in original]
    only_original = [item for item in merged if item[key] not in named]
    only_original.sort(key=lambda item: order.index(item[key]))  # brings equal keys together
    return _interleave(only_original, from_patch, order, key)


def _interleave(left: list[Node], right: list[Node], order: Sequence[Any], key: str) -> list[Node]:
    """`left` put into `right`: an item goes before the first that it preceded in `order`."""
    result: list[Node] = []
    waiting = list(left)
    for item in right:
        while waiting and item[key] in order and order.index(waiting[0][key]) < order.index(item[key]):
            result.append(waiting.pop(0))
        result.append(item)
    return result + waiting


def _index(items: Sequence[Node], value: Any, key: str) -> int | None:
    for place, item in enumerate(items):
        if item[key] == value:
            return place
    return None

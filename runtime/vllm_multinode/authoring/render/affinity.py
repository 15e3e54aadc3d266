"""Head and workers near each other: tensors pass between them with every token."""

from collections.abc import Mapping
from typing import Any, Final

Object = dict[str, Any]

ZONE: Final = "topology.kubernetes.io/zone"


def together(given: Mapping[str, Any] | None, key: str | None, group: Mapping[str, Any]) -> Object:
    """The affinity of a group's pods: the user's, and one domain for all of them.

    A key that a user names is required. The zone is preferred alone: a required one leaves out every node
    without the label, and machines of one's own seldom have it.

    Args:
        given: the user's; with a podAffinity of its own it stays as it is.
        key: label of the nodes that the user names.
        group: label selector of the group's own pods.
    """
    affinity = dict(given or {})
    if "podAffinity" in affinity:
        return affinity
    if key is not None:
        term = {"topologyKey": key, **group}
        return affinity | {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    preferred = {"weight": 100, "podAffinityTerm": {"topologyKey": ZONE, **group}}
    return affinity | {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}

"""Label selectors, as Kubernetes matches them."""

from collections.abc import Mapping
from typing import Any

from vllm_multinode.k8s.access import listed, mapping, text


def selects(selector: object, labels: Mapping[str, Any]) -> bool:
    """Whether a LabelSelector (matchLabels, matchExpressions) matches labels; an empty one matches all."""
    if not isinstance(selector, Mapping):
        return False
    equal = mapping(selector, "matchLabels")
    return all(labels.get(key) == value for key, value in equal.items()) and all(
        _holds(one, labels) for one in listed(selector, "matchExpressions")
    )


def _holds(expression: object, labels: Mapping[str, Any]) -> bool:
    key, operator = text(expression, "key"), text(expression, "operator")
    values = listed(expression, "values")
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) is (operator == "Exists")

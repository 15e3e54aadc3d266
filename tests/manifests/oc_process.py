"""`oc process`, without `oc`: the rules of OpenShift's template processing.

Source: openshift/library-go, pkg/template/templateprocessing and generator; openshift/origin,
pkg/template/generator/expressionvalue.go.
"""

import json
import random
import re
from collections.abc import Mapping
from typing import Any

_TEXT = re.compile(r"\$\{([a-zA-Z0-9_]+?)\}")
_WHOLE = re.compile(r"\$\{\{([a-zA-Z0-9_]+)\}\}")
_GENERATED = re.compile(r"\[([a-zA-Z0-9\-\\]+)\](\{([0-9]+)\})")
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NUMERALS = "0123456789"
_SYMBOLS = "~!@#$%^&*()-_+={}[]\\|<,>.?/\"';:`"
_ASCII = _LETTERS + _NUMERALS + _SYMBOLS
_CLASSES = {"\\w": _LETTERS + _NUMERALS + "_", "\\d": _NUMERALS, "\\a": _LETTERS + _NUMERALS, "\\A": _SYMBOLS}
_LONGEST = 255


class TemplateError(Exception):
    """What `oc process` would reject."""


def process(template: Mapping[str, Any], given: Mapping[str, str], seed: int = 0) -> list[dict[str, Any]]:
    """The objects of a Template, with its parameters' values in their places.

    Args:
        template: the Template.
        given: what follows -p.
        seed: of the values that are generated.

    Raises:
        TemplateError: an unknown parameter, a required one without a value, an unknown generator.
    """
    values = _values(template.get("parameters", []), given, random.Random(seed))
    labels = {
        _text(_substituted(key, values)): _text(_substituted(value, values))
        for key, value in (template.get("labels") or {}).items()
    }
    objects = []
    for one in template["objects"]:
        made: dict[str, Any] = _visited(_without_literal_namespace(one), values)
        if labels:
            made.setdefault("metadata", {})["labels"] = (made["metadata"].get("labels") or {}) | labels
        objects.append(made)
    return objects


def _values(
    parameters: list[dict[str, Any]], given: Mapping[str, str], generator: random.Random
) -> dict[str, str]:
    unknown = set(given) - {one["name"] for one in parameters}
    if unknown:
        raise TemplateError(f"unknown parameter name {min(unknown)!r}")
    values = {}
    for one in parameters:
        value = given.get(one["name"], one.get("value", ""))
        if not value and one.get("generate"):
            if one["generate"] != "expression":
                raise TemplateError(f"unknown generator name {one['generate']!r} for parameter {one['name']}")
            value = _generate(one.get("from", ""), generator)
        if not value and one.get("required"):
            raise TemplateError(f"parameter {one['name']} is required and must be specified")
        values[one["name"]] = value
    return values


def _generate(expression: str, generator: random.Random) -> str:
    """`[a-z0-9]{8}` and the like, replaced by random characters until none is left."""
    while found := _GENERATED.search(expression):
        length = int(found[3])
        if not 0 < length <= _LONGEST:
            raise TemplateError(f"range must be within [1-{_LONGEST}] characters")
        letters = "".join(dict.fromkeys(_alphabet(found[1])))
        made = "".join(generator.choice(letters) for _ in range(length))
        expression = expression[: found.start()] + made + expression[found.end() :]
    return expression


def _alphabet(ranges: str) -> str:
    letters = ""
    for part in re.findall(r"\\?[a-zA-Z0-9]-?[a-zA-Z0-9]?", ranges):
        if part in _CLASSES:
            letters += _CLASSES[part]
            continue
        first, last = _ASCII.index(part[0]), _ASCII.rindex(part[-1])
        if first > last:
            raise TemplateError(f"invalid range specified: {part[0]}-{part[-1]}")
        letters += _ASCII[first : last + 1]
    return letters


def _without_literal_namespace(one: dict[str, Any]) -> dict[str, Any]:
    """A namespace that is no parameter is stripped: the object goes to the current project."""
    metadata = one.get("metadata", {})
    if not metadata.get("namespace") or _TEXT.search(metadata["namespace"]):
        return one
    return one | {"metadata": {key: value for key, value in metadata.items() if key != "namespace"}}


def _visited(value: Any, values: Mapping[str, str]) -> Any:
    """Every text inside, keys of mappings included."""
    if isinstance(value, dict):
        return {_text(_substituted(key, values)): _visited(one, values) for key, one in value.items()}
    if isinstance(value, list):
        return [_visited(one, values) for one in value]
    return _substituted(value, values) if isinstance(value, str) else value


def _substituted(text: str, values: Mapping[str, str]) -> Any:
    """`${{X}}` alone becomes what X's value is in JSON, or its text; `${X}` becomes X's text, anywhere.

    A parameter that does not exist stays as it is written.
    """
    whole = _WHOLE.fullmatch(text)
    if whole and whole[1] in values:
        try:
            return json.loads(values[whole[1]])
        except ValueError:
            return values[whole[1]]
    out = text
    for found in _TEXT.finditer(text):
        if found[1] in values:
            out = out.replace(found[0], values[found[1]], 1)
    return out


def _text(value: Any) -> str:
    """A key, or a label's value, is text whatever it was made of."""
    return value if isinstance(value, str) else json.dumps(value)

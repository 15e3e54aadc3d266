"""OpenShift Templates, read as the objects that `oc process` makes of them; every line stays the file's.

Source: openshift/library-go, pkg/template/templateprocessing; openshift/origin,
pkg/template/generator/expressionvalue.go.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vllm_multinode.k8s.parser import DEEPEST, LARGEST_FILE, Node, refusal

_API_VERSIONS: Final = ("template.openshift.io/v1", "v1")
_KIND: Final = "Template"
_TEXT: Final = re.compile(r"\$\{([a-zA-Z0-9_]+?)\}")
_WHOLE: Final = re.compile(r"\$\{\{([a-zA-Z0-9_]+)\}\}")
_GENERATED: Final = re.compile(r"\[([^\]]+)\]\{([0-9]{1,3})\}")


class _LongError(Exception):
    """Values in their places make more text than any manifest has."""


class _Values(dict[str, str]):
    """Of the parameters, by name.

    Attributes:
        left: characters that may still be put in the places of names: a value may stand in many.
    """

    left = LARGEST_FILE

    def put(self, name: str) -> str:
        """The value of a parameter that is declared, once more.

        Raises:
            _LongError: there is more of it than any manifest has.
        """
        value = self[name]
        self.left -= len(value)
        if self.left < 0:
            raise _LongError
        return value


@dataclass(frozen=True)
class Template:
    """What a Template holds once its parameters have values.

    Attributes:
        objects: the nodes of its objects, with lines of the file.
        parameters: the names that it declares.
    """

    objects: list[Node]
    parameters: frozenset[str]


def is_template(entries: Mapping[str, tuple[Node, Node]]) -> bool:
    """Whether the entries of an object are a Template's."""
    kind, api_version = (_text(entries, name) for name in ("kind", "apiVersion"))
    return kind == _KIND and api_version in _API_VERSIONS


def process(root: Node, given: Mapping[str, str], file: str, *, exact: bool = False) -> Template:
    """The objects of a Template, with its parameters' values in their places.

    Args:
        root: the Template.
        given: values of parameters, which go over the Template's defaults; those of other Templates are left
            alone.
        file: for messages.
        exact: reject a parameter that is to be generated, instead of giving it a value that it could have.

    Raises:
        MultinodeError: MANIFEST, for what `oc process` would refuse, and what `exact` forbids.
    """
    entries = root.value if isinstance(root.value, dict) else {}
    values = _values(entries, given, file, exact=exact)
    if "objects" not in entries or not isinstance(entries["objects"][1].value, list):
        line = entries["objects"][0].line if "objects" in entries else root.line
        raise refusal("the Template has no list of objects.", file, line, "Write them under objects.")
    try:
        labels = _labels(entries, values)
        objects = [_processed(item, values, labels) for item in entries["objects"][1].value]
    except RecursionError as error:  # Of the JSON reader, or of a value that is deeper than a file may be.
        what = "the Template, or a parameter's value, is nested too deeply."
        raise refusal(what, file, root.line, "Check the values that stand as ${{NAME}}.") from error
    except _LongError as error:
        what = f"the Template becomes longer than {LARGEST_FILE // 1024**2} MiB with its parameters."
        raise refusal(what, file, root.line, "Check its parameters' values.") from error
    return Template(objects, frozenset(values))


def _processed(item: Node, values: _Values, labels: Mapping[str, tuple[Node, Node]]) -> Node:
    """One object; a namespace that is no parameter is left out, so that it goes where it is applied."""
    before = item.find(("metadata", "namespace"))[0].value
    literal = isinstance(before, str) and not _TEXT.search(before)
    item = _substituted(item, values)
    if not isinstance(item.value, dict):
        return item
    metadata = item.value.get("metadata")
    inner = metadata[1].value if metadata is not None else None
    if metadata is None or not isinstance(inner, dict):
        return item
    if literal:
        inner = {key: entry for key, entry in inner.items() if key != "namespace"}
    if labels:
        own = inner["labels"][1].value if "labels" in inner else {}
        merged = {**(own if isinstance(own, dict) else {}), **labels}
        key, at = inner.get("labels", metadata)
        inner = {**inner, "labels": (key, replace(at, value=merged))}
    entry = (metadata[0], replace(metadata[1], value=inner))
    return replace(item, value={**item.value, "metadata": entry})


def _values(
    entries: Mapping[str, tuple[Node, Node]], given: Mapping[str, str], file: str, *, exact: bool
) -> _Values:
    parameters = entries["parameters"][1] if "parameters" in entries else None
    if parameters is None or parameters.value is None:
        return _Values()
    if not isinstance(parameters.value, list):
        raise refusal("parameters is not a list.", file, parameters.line)
    values = _Values()
    for parameter in parameters.value:
        fields = parameter.value if isinstance(parameter.value, dict) else {}
        name = _text(fields, "name")
        if not name:
            raise refusal("a parameter has no name.", file, parameter.line, "Name it.")
        value = given.get(name, _text(fields, "value"))
        if not value and _text(fields, "generate"):
            if exact:
                what = f"the Template's parameter {name} is to be generated, with another value each time."
                raise refusal(what, file, parameter.line, f"Give one with --param {name}=VALUE.")
            value = _generated(_text(fields, "from"))
        if not value and "required" in fields and fields["required"][1].value is True:
            what = f"the Template's parameter {name} is required and has no value."
            raise refusal(what, file, parameter.line, f"Give one with --param {name}=VALUE.")
        values[name] = value
    return values


def _generated(expression: str) -> str:
    """`[a-z0-9]{8}` as text that could have come of it: the first character, as often as is asked."""
    return _GENERATED.sub(lambda match: match[1].removeprefix("\\")[0] * int(match[2]), expression)


def _labels(entries: Mapping[str, tuple[Node, Node]], values: _Values) -> Mapping[str, tuple[Node, Node]]:
    labels = _substituted(entries["labels"][1], values).value if "labels" in entries else None
    return labels if isinstance(labels, dict) else {}


def _substituted(node: Node, values: _Values) -> Node:
    """The node with parameters replaced in every text inside, keys included."""
    value = node.value
    if isinstance(value, dict):
        entries = {}
        for name, (key, item) in value.items():
            renamed = str(_value(name, values))
            entries[renamed] = (replace(key, value=renamed), _substituted(item, values))
        return replace(node, value=entries)
    if isinstance(value, list):
        return replace(node, value=[_substituted(item, values) for item in value])
    return _node(_value(value, values), node) if isinstance(value, str) else node


def _value(text: str, values: _Values) -> Any:
    """`${{X}}` alone is X's value read as JSON, or its text; `${X}` is X's text, anywhere.

    A parameter that is not declared stays as it is written.
    """
    whole = _WHOLE.fullmatch(text)
    if whole and whole[1] in values:
        try:
            return json.loads(values.put(whole[1]))
        except ValueError:
            return values[whole[1]]
    return _TEXT.sub(lambda match: values.put(match[1]) if match[1] in values else match[0], text)


def _node(value: Any, at: Node, depth: int = 0) -> Node:
    """Plain data as nodes that stand where `at` does.

    Raises:
        RecursionError: for data that is nested deeper than a file may be.
    """
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        entries = {
            str(key): (replace(at, value=str(key)), _node(item, at, depth + 1)) for key, item in value.items()
        }
        return replace(at, value=entries)
    if isinstance(value, list):
        return replace(at, value=[_node(item, at, depth + 1) for item in value])
    return replace(at, value=value)


def _text(entries: Mapping[str, tuple[Node, Node]], name: str) -> str:
    """A scalar as text; empty where there is none."""
    value = entries[name][1].value if name in entries else None
    if isinstance(value, bool):
        return json.dumps(value)
    return str(value) if isinstance(value, (str, int, float)) else ""

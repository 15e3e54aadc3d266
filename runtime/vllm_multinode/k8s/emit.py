"""YAML as people write it: keys in the order given, block style, no anchors, quotes where they are needed."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from vllm_multinode.k8s.scalars import resolve

# No line is folded: a long argument stays one line.
_WIDTH = 1 << 16


def to_yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """The documents as one YAML stream, read back by Kubernetes as exactly what they are."""
    return yaml.dump_all(
        documents,
        Dumper=_dumper(),
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=_WIDTH,
    )


@functools.cache
def _dumper() -> type[yaml.SafeDumper]:
    """libyaml's emitter where PyYAML has it; it is some five times faster."""
    base: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper: type[Any] = type("_Dumper", (base,), {"ignore_aliases": lambda _self, _data: True})
    dumper.add_representer(str, _represent_text)
    for kind in (tuple, Mapping):
        dumper.add_multi_representer(kind, _represent_tuple if kind is tuple else _represent_mapping)
    return dumper


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """A block where there are lines, quotes where Kubernetes would read something else than a text."""
    style = None
    if "\n" in text and all(line.isprintable() and line == line.rstrip() for line in text.split("\n")):
        style = "|"
    elif not isinstance(_read_back(text), str):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _read_back(text: str) -> object:
    return resolve(text) if text else None


def _represent_tuple(dumper: yaml.SafeDumper, items: tuple[Any, ...]) -> yaml.Node:
    return dumper.represent_list(list(items))


def _represent_mapping(dumper: yaml.SafeDumper, mapping: Mapping[str, Any]) -> yaml.Node:
    return dumper.represent_dict(dict(mapping))

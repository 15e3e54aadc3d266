"""The examples of tests/data/rules: for each rule, one document set that breaks it and one that does not.

A file changes `base.yaml` in a few places: path from the document's name on, "/" between steps, "~1" for a
slash inside one, "(absent)" for a key that is taken away. `also` adds a copy of a document, as `second`.
"""

import copy
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kserve_inputs import VERSIONS
from vllm_multinode.k8s.documents import Document, from_text
from vllm_multinode.k8s.emit import to_yaml

FOLDER = Path(__file__).parents[3] / "data" / "rules"
ABSENT = "(absent)"


@dataclass(frozen=True)
class Example:
    """One rule's example.

    Attributes:
        rule: its id.
        path: where the finding points.
        version: of KServe that shows it.
        versions: for which it is found.
        live: what the running controller does with it.
        recorded: name of the recorded case that shows it.
        gpu: of the nodes, where it takes one.
        bad: objects that break the rule.
        good: objects that do not.
    """

    rule: str
    path: str
    version: str
    versions: tuple[str, ...]
    live: str
    recorded: str
    gpu: str
    bad: list[dict[str, Any]]
    good: list[dict[str, Any]]


@cache
def examples() -> tuple[Example, ...]:
    """Every example, by rule."""
    return tuple(_read(path) for path in sorted(FOLDER.glob("*.yaml")) if path.stem != "base")


def documents(bodies: list[dict[str, Any]]) -> list[Document]:
    """The objects as if they had been read from one file."""
    return from_text(to_yaml(bodies), "example.yaml")


@cache
def base() -> dict[str, Any]:
    """The documents of base.yaml by their names."""
    return dict(yaml.safe_load((FOLDER / "base.yaml").read_text()))


def _read(path: Path) -> Example:
    written = yaml.safe_load(path.read_text())
    bad, good = written["bad"], written.get("good", {})
    changed = {step.split("/")[0] for step in (*bad, *good)}
    names = ["group"] if "group" in changed else ["runtime", "service"]
    names += ["policy", "budget"]
    names += ["api", "ingress"] if "ingress" in changed else []
    names += ["claim"] if "claim" in changed else []
    return Example(
        rule=path.stem,
        path=written["path"],
        version=written.get("version", "0.19.0"),
        versions=tuple(written.get("versions", VERSIONS)),
        live=written["live"],
        recorded=written.get("recorded", ""),
        gpu=written.get("gpu", ""),
        bad=_changed(names, bad),
        good=_changed(names, good),
    )


def _changed(names: list[str], changes: dict[str, Any]) -> list[dict[str, Any]]:
    # Aliases of the file stand for parts of their own.
    made = {name: json.loads(json.dumps(base()[name])) for name in names}
    if "also" in changes:
        made["second"] = copy.deepcopy(made[changes["also"]])
    for path, value in changes.items():
        if path != "also":
            _set(made, [step.replace("~1", "/") for step in path.split("/")], value)
    return list(made.values())


def _set(value: Any, steps: list[str], new: Any) -> None:
    *parents, last = steps
    for step in parents:
        value = value[int(step)] if isinstance(value, list) else value.setdefault(step, {})
    if isinstance(value, list):
        value[int(last) :] = [new] if int(last) == len(value) else [new, *value[int(last) + 1 :]]
    elif new == ABSENT:
        del value[last]
    else:
        value[last] = copy.deepcopy(new)

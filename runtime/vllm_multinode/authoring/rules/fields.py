"""What the API server rejects by a kind's schema: unknown fields, wrong types, absent and doubled entries.

`fields.json` holds the schemas of every version of KServe and of LeaderWorkerSet;
`scripts/generate kserve_fields` writes it from their CustomResourceDefinitions.
"""

import difflib
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any, Final

from vllm_multinode.authoring.rules.rule import RUNTIMES, Case, Rule, always
from vllm_multinode.contract.finding import Edit, Finding, Path
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.k8s.access import at, mapping
from vllm_multinode.k8s.parser import shorten
from vllm_multinode.platforms.kserve.defaulting import POD_FIELDS, runtime_pod_fields
from vllm_multinode.platforms.releases import DEFAULT

KINDS: Final = ("InferenceService", *RUNTIMES, "LeaderWorkerSet")
_GROUPS: Final = ("serving.kserve.io", "leaderworkerset.x-k8s.io")
_TYPES: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "int-or-string": "a number or text",
}
_LONGEST_NAME: Final = 253
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@functools.cache
def _fields() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(File(__file__).with_name("fields.json").read_text(encoding="utf-8"))
    return known


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _schema(case: Case) -> int | None:
    """The node of the document's schema; None where that version does not serve it."""
    known = _fields()["kserve"][case.release.crds] | _fields()["lws"]
    number: int | None = known.get(f"{case.document.api_version}/{case.document.kind}")
    return number


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _fits(value: Any, wanted: str) -> bool:
    given = _type_of(value)
    if wanted == "int-or-string":
        return given in ("integer", "string")
    return given == wanted or wanted == "any" or (wanted == "number" and given == "integer")


class _Walk:
    """One pass over an object with its schema; what it finds, by rule."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self.found: dict[str, list[Finding]] = {"unknown-field": [], "wrong-value": [], "missing-field": []}
        self.found |= {"doubled-item": [], "runtime-drops-field": []}
        number = _schema(case)
        if number is not None:
            self._walk(case.body, number, ())

    def _walk(self, value: Any, number: int, path: Path) -> None:
        node = _fields()["nodes"][number]
        if value is None or path in (("metadata",), ("status",)):
            return
        if not _fits(value, node["t"]):
            self._wrong_type(value, node["t"], path)
        elif isinstance(value, dict):
            self._mapping(value, node, path)
        elif isinstance(value, list):
            self._list(value, node, path)
        else:
            self._scalar(value, node, path)

    def _mapping(self, value: dict[str, Any], node: dict[str, Any], path: Path) -> None:
        known, other = node.get("p", {}), node.get("a")
        for name, inner in value.items():
            if name in known:
                self._walk(inner, known[name], (*path, name))
            elif other is not None:
                self._walk(inner, other, (*path, name))
            elif "p" in node and "x" not in node:
                self._unknown(name, list(known), (*path, name))
        for name in node.get("r", ()):
            if value.get(name) is None:
                what = f"the API server rejects it: {name} is missing."
                self.found["missing-field"].append(Finding(path, what, f"Add {name}."))

    def _list(self, value: list[Any], node: dict[str, Any], path: Path) -> None:
        seen: dict[str, int] = {}
        for index, item in enumerate(value):
            if "i" in node:
                self._walk(item, node["i"], (*path, index))
            if "k" in node and isinstance(item, dict):
                # A protocol is TCP where none is written.
                key = json.dumps(
                    [item.get(name, "TCP" if name == "protocol" else None) for name in node["k"]]
                )
                if key in seen:
                    what = f"the API server rejects it: it has the same key as entry {seen[key]}."
                    self.found["doubled-item"].append(Finding((*path, index), what))
                seen.setdefault(key, index)

    def _scalar(self, value: Any, node: dict[str, Any], path: Path) -> None:
        wanted = ""
        if "e" in node and value not in node["e"]:
            wanted = f"one of {', '.join(map(str, node['e']))}"
        elif "m" in node and not _pattern(node["m"]).search(str(value)):
            wanted = (
                "a quantity such as 8, 500m or 16Gi" if "KMGTPE" in node["m"] else f"of the form {node['m']}"
            )
        elif "l" in node and not isinstance(value, str) and value < node["l"]:
            wanted = f"at least {node['l']}"
        if wanted:
            what = f"the API server rejects it: {shorten(str(value))} is not {wanted}."
            self.found["wrong-value"].append(Finding(path, what, f"Write {wanted}."))

    def _wrong_type(self, value: Any, wanted: str, path: Path) -> None:
        shown = json.dumps(value) if isinstance(value, (bool, int, float, str)) else _TYPES[_type_of(value)]
        what = f"the API server rejects it: {shorten(shown)} is not {_TYPES.get(wanted, wanted)}."
        hint = f"Write {_TYPES.get(wanted, wanted)}."
        fix: tuple[Edit, ...] = ()
        if wanted == "string" and isinstance(value, (bool, int, float)):
            hint, fix = "Put it in quotes.", (Edit(path, quote=True),)
        elif wanted == "integer" and isinstance(value, str) and is_count(value) and len(value) < 10:
            hint, fix = "Remove the quotes.", (Edit(path, int(value)),)
        self.found["wrong-value"].append(Finding(path, what, hint, fix))

    def _unknown(self, name: str, known: list[str], path: Path) -> None:
        runtime = self._case.document.kind in RUNTIMES
        if runtime and path[:-1] in (("spec",), ("spec", "workerSpec")) and name in POD_FIELDS:
            if name not in runtime_pod_fields(self._case.release):
                self.found["runtime-drops-field"].append(Finding(path, _dropped(name)))
            return
        what = f"kubectl rejects it: there is no field {shorten(name)} here; other clients drop it."
        same = [one for one in known if one.lower() == name.lower()]
        near = same or difflib.get_close_matches(name, known, 1)
        hint = f"Write {near[0]}." if near else ""
        fix = (Edit(path, rename=same[0]),) if len(same) == 1 else ()
        self.found["unknown-field"].append(Finding(path, what, hint, fix))


def _dropped(name: str) -> str:
    return f"a ServingRuntime does not carry {name}: kubectl rejects it; other clients drop it."


def _of(rule: str, case: Case) -> Iterator[Finding]:
    yield from _walk_once(case).found[rule]


def _walk_once(case: Case) -> _Walk:
    """The pass over a case's document, kept in the case."""
    kept = case.kept.get("schema")
    if not isinstance(kept, _Walk):
        kept = case.kept["schema"] = _Walk(case)
    return kept


def _api_version(case: Case) -> Iterator[Finding]:
    if _schema(case) is not None:
        return
    known = {**_fields()["kserve"][DEFAULT.crds], **_fields()["lws"]}
    right = next(name for name in known if name.endswith(f"/{case.document.kind}")).rpartition("/")[0]
    what = f"the API server has no {case.document.kind} in {shorten(case.document.api_version)}."
    yield Finding(("apiVersion",), what, f"Write {right}.", (Edit(("apiVersion",), right),))


def _metadata(case: Case) -> Iterator[Finding]:
    for part in ("labels", "annotations"):
        for name, value in mapping(case.body, "metadata", part).items():
            if not isinstance(value, str | None):
                what = f"the API server rejects it: {shorten(json.dumps(value))} is not text."
                path: Path = ("metadata", part, name)
                fix = (Edit(path, quote=True),) if not isinstance(value, (dict, list)) else ()
                yield Finding(path, what, "Put it in quotes.", fix)


def _name(case: Case) -> Iterator[Finding]:
    name = at(case.body, "metadata", "name")
    if not name and not at(case.body, "metadata", "generateName"):
        yield Finding(
            ("metadata",), "the API server rejects it: metadata.name is missing.", "Give it a name."
        )
    elif case.document.kind != "InferenceService" and isinstance(name, str) and not _is_name(name):
        what = f"the API server rejects it: {shorten(name)} is not a valid object name."
        yield Finding(("metadata", "name"), what)


def _is_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _same_object(case: Case) -> Iterator[Finding]:
    one = case.document
    for other in case.documents:
        if other is one:
            return
        if (other.kind, other.namespace, other.name) == (one.kind, one.namespace, one.name) and one.name:
            where = f"{other.file}:{other.line(())}" if other.line(()) else other.file
            yield Finding(("metadata", "name"), f"the same object is in {where}; the last one applied wins.")
            return


def _rule(name: str, message: str, hint: str, seen: str = "API server, by the CRD's schema") -> Rule:
    return Rule(
        id=name,
        severity="refused",
        message=message,
        hint=hint,
        seen=seen,
        check=functools.partial(_of, name),
        kinds=KINDS,
        holds=always,
    )


RULES: Final = (
    Rule(
        id="api-version",
        severity="refused",
        message="The API server does not have this kind in that apiVersion.",
        hint="Use the apiVersion in the message.",
        seen="API server",
        check=_api_version,
        kinds=KINDS,
        holds=always,
    ),
    _rule(
        "unknown-field",
        "kubectl rejects a field that is not in the schema; other clients drop it silently.",
        "Correct the name, or move the field to its place.",
    ),
    _rule(
        "runtime-drops-field",
        "A ServingRuntime does not carry that field of a pod: kubectl rejects it; other "
        "clients drop it silently.",
        "Write it into the InferenceService, under spec.predictor for the head and under "
        "spec.predictor.workerSpec for the workers.",
        "the running controllers of v0.15.0 to v0.20.0",
    ),
    _rule(
        "wrong-value",
        "The API server rejects a value of the wrong type, or one that is not allowed there.",
        "Use a value of the type in the message.",
    ),
    _rule("missing-field", "The API server rejects an object that lacks a required field.", "Add it."),
    _rule(
        "doubled-item",
        "The API server rejects two entries of a list with the same key.",
        "Keep one of them.",
    ),
    Rule(
        id="metadata-not-text",
        severity="refused",
        message="The API server rejects a label or an annotation that is not text.",
        hint="Put it in quotes.",
        seen="API server",
        check=_metadata,
        kinds=KINDS,
        holds=always,
    ),
    Rule(
        id="object-name",
        severity="refused",
        message="The API server rejects an object without a name, or with an invalid one.",
        hint="Use lower-case letters, digits and dashes.",
        seen="API server",
        check=_name,
        kinds=KINDS,
        holds=always,
    ),
    Rule(
        id="same-object-twice",
        severity="risk",
        message="The same object appears twice in the files, and the last one applied wins.",
        hint="Keep one of them.",
        seen="kubectl apply",
        check=_same_object,
        kinds=KINDS,
        holds=always,
    ),
)

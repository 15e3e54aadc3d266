"""authoring/rules/fields.json: the fields that the schemas of KServe and LeaderWorkerSet know.

--kserve-clone is a git clone of github.com/kserve/kserve with its tags, --openshift-ai-clone one of
github.com/red-hat-data-services/kserve with its branches; --lws holds sigs.k8s.io/lws (what
`go mod download -json sigs.k8s.io/lws@v0.7.0` names). Equal parts of the schemas are written once: a node is
{"t": type, "p": {field: node}, "a": node of any other field, "i": node of the items, "r": required fields,
"e": values, "m": pattern, "l": least number, "k": keys that make an item unique, "x": other fields are kept}.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from generators.repository import PACKAGE, AbsentError, Files

VERSIONS = ("0.14.1", "0.15.0", "0.15.1", "0.15.2", "0.16.0", "0.17.1", "0.18.1", "0.19.0", "0.20.0")
OPENSHIFT_AI = {
    "2.14": "config/crd",
    **dict.fromkeys(("2.16", "2.18", "2.22", "2.23", "2.24", "2.25", "3.2", "3.3", "3.5"), "config/crd/full"),
}
"""The folder with the definitions on the branch of each release that changed them."""
KINDS = ("InferenceService", "ServingRuntime", "ClusterServingRuntime")
LWS = "leaderworkerset.x-k8s.io_leaderworkersets.yaml"
OUT = PACKAGE / "authoring/rules/fields.json"


class Nodes:
    """Schema nodes, each kept once."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self._known: dict[str, int] = {}

    def keep(self, schema: dict[str, Any]) -> int:
        """The number of a schema's node."""
        node: dict[str, Any] = {"t": schema.get("type", "any")}
        if schema.get("x-kubernetes-int-or-string"):
            node["t"] = "int-or-string"
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            node["x"] = 1
        if "properties" in schema:
            node["p"] = {name: self.keep(value) for name, value in sorted(schema["properties"].items())}
        if isinstance(schema.get("additionalProperties"), dict):
            node["a"] = self.keep(schema["additionalProperties"])
        if "items" in schema:
            node["i"] = self.keep(schema["items"])
        # A field with a default need not be there.
        properties = schema.get("properties", {})
        needed = [name for name in schema.get("required", []) if "default" not in properties.get(name, {})]
        unique = schema.get("x-kubernetes-list-type") == "map"
        facts = {
            "r": needed,
            "e": schema.get("enum"),
            "m": schema.get("pattern"),
            "l": schema.get("minimum"),
            "k": schema.get("x-kubernetes-list-map-keys") if unique else None,
        }
        node |= {short: fact for short, fact in facts.items() if fact not in (None, [])}
        text = json.dumps(node, sort_keys=True)
        if text not in self._known:
            self._known[text] = len(self.kept)
            self.kept.append(node)
        return self._known[text]


def crd(text: str | bytes, nodes: Nodes) -> dict[str, int]:
    """The nodes of a CustomResourceDefinition by "group/version/kind"."""
    definition = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
    kind = definition["names"]["kind"]
    return {
        f"{definition['group']}/{version['name']}/{kind}": nodes.keep(version["schema"]["openAPIV3Schema"])
        for version in definition["versions"]
        if version["served"]
    }


def files(
    kserve_clone: str | None = None, openshift_ai_clone: str | None = None, lws: str | None = None
) -> Files:
    """The file."""
    if kserve_clone is None or openshift_ai_clone is None or lws is None:
        raise AbsentError("it needs --kserve-clone, --openshift-ai-clone and --lws")
    nodes = Nodes()
    kserve = {
        version: _of_tree(kserve_clone, f"v{version}:config/crd/full", nodes) for version in VERSIONS
    } | {
        f"openshift-ai-{number}": _of_tree(openshift_ai_clone, f"rhoai-{number}:{folder}", nodes)
        for number, folder in OPENSHIFT_AI.items()
    }
    known = {"kserve": kserve, "lws": crd((Path(lws) / "config/crd/bases" / LWS).read_text(), nodes)}
    return {OUT: json.dumps({**known, "nodes": nodes.kept}, separators=(",", ":")) + "\n"}


def _of_tree(clone: str, tree: str, nodes: Nodes) -> dict[str, int]:
    """The nodes of the kinds whose definitions lie in a folder of a commit, such as `v0.19.0:config/crd/full`."""
    known: dict[str, int] = {}
    for kind in KINDS:
        path = f"{tree}/serving.kserve.io_{kind.lower()}s.yaml"
        known |= crd(subprocess.check_output(["git", "-C", clone, "show", path]), nodes)
    return known

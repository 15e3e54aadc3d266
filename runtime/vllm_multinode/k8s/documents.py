"""Manifests as their author wrote them: files, folders and kustomizations, every value with its line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vllm_multinode.k8s import templates
from vllm_multinode.k8s.parser import Node, parse, read_text, refusal
from vllm_multinode.k8s.pipes import open_file

KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")


@dataclass(frozen=True)
class Document:
    """One object.

    Attributes:
        file: as the user named it; "-" for standard input, the folder for what kustomize has built.
        index: from 0, among the objects of that file.
        body: the object as plain data.
        root: its text's nodes; None for what was never a text.
        source: where the same object stands in a kustomization's own files, as far as it can be found.
        parameters: that the Template declares which the object comes from; None for any other object.
    """

    file: str
    index: int
    body: dict[str, Any]
    root: Node | None = field(default=None, repr=False, compare=False)
    source: "Document | None" = field(default=None, repr=False, compare=False)
    parameters: frozenset[str] | None = field(default=None, repr=False, compare=False)

    @property
    def api_version(self) -> str:
        """Such as serving.kserve.io/v1beta1; empty for what is not a Kubernetes object."""
        return str(self.body.get("apiVersion", ""))

    @property
    def kind(self) -> str:
        """Such as InferenceService; empty for what is not a Kubernetes object."""
        return str(self.body.get("kind", ""))

    @property
    def name(self) -> str:
        """Its name, or that which its own is generated from; empty without either."""
        metadata = self.body.get("metadata") or {}
        return str(metadata.get("name") or metadata.get("generateName") or "")

    @property
    def namespace(self) -> str:
        """Empty where the command line or the kubeconfig decides."""
        return str((self.body.get("metadata") or {}).get("namespace") or "")

    def line(self, path: Sequence[str | int]) -> int:
        """The line of `path` or of its nearest parent, from 1; 0 where there is no text to point into."""
        if self.source is not None:
            return self.source.line(path)
        return self.root.find(path)[1] if self.root is not None else 0


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        parameters: values for the parameters of Templates.
        untyped: also take mappings that have neither apiVersion nor kind.
        remote: let kustomize load what a kustomization names by a URL.
        exact: reject a Template with a parameter that is to be generated and has no value, instead of giving
            it one that it could have.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    untyped: bool = False
    remote: bool = False
    exact: bool = False


def from_text(text: str, file: str, reading: Reading | None = None) -> list[Document]:
    """The objects of a YAML or JSON text.

    Raises:
        MultinodeError: MANIFEST.
    """
    items = [item for node in parse(text, file) for item in _unpacked(node, file, reading or Reading())]
    return [
        Document(file, index, root.data(), root, parameters=parameters)
        for index, (root, parameters) in enumerate(items)
    ]


def from_file(path: Path, name: str, reading: Reading | None = None) -> list[Document]:
    """The objects of a file, which messages call `name`.

    Raises:
        MultinodeError: MANIFEST.
        OSError: it cannot be read.
    """
    with open_file(path) as stream:
        return from_text(read_text(stream, name), name, reading)


def _unpacked(node: Node, file: str, reading: Reading) -> Iterator[tuple[Node, frozenset[str] | None]]:
    """An object, or those of a List or Template, once it is sure that Kubernetes could read it as one.

    Each comes with the parameters of its Template.
    """
    entries = node.value
    if not isinstance(entries, dict):
        what = f"is {_described(node)}, not an object with apiVersion and kind."
        raise refusal(what, file, node.line)
    if reading.untyped and entries and not {"apiVersion", "kind"} & entries.keys():
        yield node, None
        return
    for name in ("apiVersion", "kind"):
        if name not in entries or not isinstance(entries[name][1].value, str) or not entries[name][1].value:
            line = entries[name][0].line if name in entries else node.line
            raise refusal(f"the object has no {name}.", file, line, f"Add {name}, as text.")
    _check_metadata(entries, file)
    if templates.is_template(entries):
        template = templates.process(node, reading.parameters, file, exact=reading.exact)
        for item in template.objects:
            for inner, _ in _unpacked(item, file, reading):
                yield inner, template.parameters
        return
    for item in _items(entries, file):
        yield from _unpacked(item, file, reading)
    if not _is_list(entries):
        yield node, None


def _is_list(entries: dict[str, tuple[Node, Node]]) -> bool:
    return str(entries["kind"][1].value).endswith("List") and "items" in entries


def _items(entries: dict[str, tuple[Node, Node]], file: str) -> list[Node]:
    """The items of a List; nothing for any other object."""
    if not _is_list(entries):
        return []
    key, items = entries["items"]
    if not isinstance(items.value, list):
        raise refusal("items is not a list.", file, key.line)
    return items.value


def _check_metadata(entries: dict[str, tuple[Node, Node]], file: str) -> None:
    """What every reader of a document relies on: names are text, labels and annotations are mappings."""
    if "metadata" not in entries or entries["metadata"][1].value is None:
        return
    metadata = entries["metadata"][1]
    if not isinstance(metadata.value, dict):
        raise refusal(f"metadata is {_described(metadata)}, not a mapping.", file, metadata.line)
    for name, (_, value) in metadata.value.items():
        if name in ("name", "generateName", "namespace") and not isinstance(value.value, str | None):
            what = f"metadata.{name} is {_described(value)}, not text."
            raise refusal(what, file, value.line, "Quote it.")
        if name in ("labels", "annotations") and not isinstance(value.value, dict | None):
            raise refusal(f"metadata.{name} is {_described(value)}, not a mapping.", file, value.line)


def _described(node: Node) -> str:
    """A value's type in words."""
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(node.value), "a mapping" if isinstance(node.value, dict) else "nothing")

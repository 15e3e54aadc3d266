"""What a user names in any command: manifests, Templates, deployment specs, other people's files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from vllm_multinode.authoring.foreign import Foreign, foreign
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s import files
from vllm_multinode.k8s.documents import Document, Reading, from_text
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.k8s.parser import refusal
from vllm_multinode.platforms.releases import Release

if TYPE_CHECKING:
    from vllm_multinode.authoring.render import Target

_KUSTOMIZE: Final = "kustomize.config.k8s.io/"
_CHART_FIELDS: Final = frozenset(
    {"replicaCount", "fullnameOverride", "nameOverride", "global", "ingress", "service"}
)
"""Of a chart's values, and never of a deployment spec."""
_SPEC_FIELDS: Final = frozenset({"model", "parallelism", "executor", "accelerator"})


@dataclass(frozen=True)
class Inputs:
    """The objects of some files.

    Attributes:
        documents: Kubernetes objects, in order.
        specs: deployment specs among them, which are rendered for each release.
    """

    documents: tuple[Document, ...]
    specs: tuple[Document, ...] = ()

    def rendered(self, release: Release, target: "Target" = "kserve") -> list[Document]:
        """The objects for one release: those of specs as `multinode render` writes them, then the others.

        Raises:
            MultinodeError: SPEC, for a spec that is wrong or that this release cannot serve.
        """
        rendered = (document for spec in self.specs for document in _rendered(spec, release, target))
        return [*rendered, *self.documents]

    def foreign(self) -> Iterator[tuple[Document, Foreign]]:
        """The objects that serve models in another way, and what a user is told of each."""
        for document in self.documents:
            known = foreign(document)
            if known is not None:
                yield document, known


def read(sources: Iterable[str], reading: Reading | None = None) -> Inputs:
    """The objects of files, folders, kustomizations, Templates and deployment specs.

    Raises:
        MultinodeError: MANIFEST, KUSTOMIZE or USAGE, as `k8s.files.read`.
    """
    return _sorted(files.read(sources, replace(reading or Reading(), untyped=True)))


def read_text(text: str, file: str) -> Inputs:
    """The objects of a text, which messages call `file`.

    Raises:
        MultinodeError: MANIFEST.
    """
    return _sorted(from_text(text, file, Reading(untyped=True)))


def _sorted(read: Iterable[Document]) -> Inputs:
    """Objects, specs, and what serves models in another way, told apart."""
    documents: list[Document] = []
    specs: list[Document] = []
    for document in read:
        if document.kind:
            if not document.api_version.startswith(_KUSTOMIZE):
                documents.append(document)
        elif _is_spec(document):
            specs.append(document)
        elif foreign(document) is not None:
            documents.append(document)
        else:
            raise refusal(
                "the object has no apiVersion.", document.file, document.line(()), "Add apiVersion and kind."
            )
    return Inputs(tuple(documents), tuple(specs))


def not_checked(inputs: Inputs, sources: Sequence[str], kinds: Sequence[str]) -> MultinodeError:
    """The error of files in which nothing is checked: what the first of them is, and what to do instead."""
    for document, known in inputs.foreign():
        return MultinodeError(ExitCode.NOT_CHECKED, known.sentence, where=place(document), hint=known.hint)
    told = ", ".join(sorted({document.kind for document in inputs.documents}))
    what = f"contains none of {', '.join(kinds)}" + (f", only {told}." if told else ".")
    hint = "Name the file of one with -f, or a deployment spec."
    return MultinodeError(ExitCode.NOT_CHECKED, what, where=", ".join(sources), hint=hint)


def place(document: Document) -> str:
    """The file and line where a document begins."""
    line = document.line(())
    return f"{document.file}:{line}" if line else document.file


def _is_spec(document: Document) -> bool:
    """Whether a mapping without apiVersion and kind is a deployment spec, or was meant as one."""
    keys = document.body.keys()
    if "parallelism" in keys:
        return True
    looks_like_one = len(_SPEC_FIELDS & keys) >= 2 or {"model", "name"} <= keys
    return looks_like_one and not _CHART_FIELDS & keys


def _rendered(document: Document, release: Release, target: "Target") -> list[Document]:
    from vllm_multinode.authoring.render import render
    from vllm_multinode.authoring.spec.file import from_document

    rendered = render(from_document(document), release, target)
    return [
        replace(item, root=None)
        for text in (to_yaml(rendered.documents),)
        for item in from_text(text, document.file)
    ]

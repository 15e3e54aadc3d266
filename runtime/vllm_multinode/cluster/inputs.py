"""What a user hands to `deploy`, `wait` and `delete`: deployment specs, manifests, folders; as objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from vllm_multinode.cluster import ownership
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s import documents, files
from vllm_multinode.k8s.documents import Document
from vllm_multinode.k8s.parser import Node, decode, parse
from vllm_multinode.platforms.releases import DEFAULT, Release

Target = Literal["kserve", "lws"]

_KUSTOMIZE_GROUP: Final = "kustomize.config.k8s.io/"
_KSERVE_GROUP: Final = "serving.kserve.io/"


@dataclass(frozen=True)
class Given:
    """What was handed over.

    Attributes:
        documents: its objects; those of a spec as `multinode render` writes them.
        name: the deployment's: that of the spec, or of the only service.
    """

    documents: tuple[Document, ...]
    name: str

    @property
    def needs_kserve(self) -> bool:
        """Whether KServe has to do with it."""
        return any(document.api_version.startswith(_KSERVE_GROUP) for document in self.documents)


def specs_among(sources: Sequence[str]) -> bool:
    """Whether any of the files is a deployment spec."""
    return any(_is_spec(source) for source in sources)


def read(
    sources: Sequence[str], *, name: str = "", release: Release | None = None, target: Target = "kserve"
) -> Given:
    """The objects of files, folders and specs, in the order given.

    Args:
        sources: files, folders or "-" for standard input; a file without apiVersion and kind is a spec.
        name: of the deployment, instead of the one found.
        release: that specs are rendered for; the default where there is none yet.
        target: what specs are rendered for.

    Raises:
        MultinodeError: MANIFEST, SPEC or KUSTOMIZE with file and line; USAGE where the name is not clear.
    """
    found: list[Document] = []
    names: list[str] = []
    for source in sources:
        if _is_spec(source):
            rendered, named = _rendered(source, release or DEFAULT, target)
            found += rendered
            names.append(named)
        else:
            found += [one for one in files.read([source]) if not one.api_version.startswith(_KUSTOMIZE_GROUP)]
    names = names or [one.name for one in found if one.kind in ownership.SERVICES]
    if not name and len(set(names)) != 1:
        what = "there is no service among them" if not names else "there are several: " + ", ".join(names)
        raise MultinodeError(
            ExitCode.USAGE, f"the name of the deployment is not clear: {what}.", hint="Give it with --name."
        )
    return Given(tuple(found), name or names[0])


def runtimes_of(cluster: Cluster, given: Sequence[Document]) -> list[Document]:
    """The ServingRuntimes that services name and that only the cluster has; they decide what will serve."""
    brought = {one.name for one in given if one.kind == "ServingRuntime"}
    found: list[Document] = []
    for name in sorted(
        {_runtime(one) for one in given if one.kind == ownership.INFERENCE_SERVICE[1]} - brought - {""}
    ):
        body = cluster.get(cluster.resource(*ownership.SERVING_RUNTIME), name)
        if body is not None:
            found.append(Document(f"ServingRuntime {cluster.namespace}/{name}", 0, body))
    return found


def _runtime(document: Document) -> str:
    """The runtime that an InferenceService names."""
    value: object = document.body
    for step in ("spec", "predictor", "model", "runtime"):
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _is_spec(source: str) -> bool:
    path = Path(source)
    if source == files.STDIN or path.name in documents.KUSTOMIZATIONS or not path.is_file():
        return False
    roots = parse(decode(path.read_bytes(), source), source)
    return bool(roots) and not any(_is_object(root) for root in roots)


def _is_object(root: Node) -> bool:
    return not isinstance(root.value, dict) or bool({"apiVersion", "kind"} & root.value.keys())


def _rendered(source: str, release: Release, target: Target) -> tuple[list[Document], str]:
    from vllm_multinode.authoring.render import render
    from vllm_multinode.authoring.spec import load

    spec = load(source)
    rendered = render(spec, release, target)
    found = [
        document
        for file in rendered.files
        for document in documents.from_text(rendered.text(file), f"{source} ({file})")
        if not document.api_version.startswith(_KUSTOMIZE_GROUP)
    ]
    return found, spec.name

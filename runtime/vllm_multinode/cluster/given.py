"""What is deployed or deleted: the objects that a user's files give for one release, under one name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from vllm_multinode.authoring import inputs
from vllm_multinode.authoring.inputs import Inputs
from vllm_multinode.authoring.render import Target
from vllm_multinode.authoring.rules.fields import KINDS
from vllm_multinode.authoring.spec.file import from_document
from vllm_multinode.cluster import ownership
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.images import (
    SupportedEngine,
    asked_executor,
    fields_of,
    sentences,
    takes_supported,
)
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.access import text
from vllm_multinode.k8s.documents import Document, Reading, from_text
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.platforms.releases import DEFAULT, Release

_KSERVE_GROUP: Final = "serving.kserve.io/"


@dataclass(frozen=True)
class Given:
    """A deployment before it is applied.

    Attributes:
        documents: its objects; those of a spec as `multinode render` writes them.
        name: the deployment's: that of the spec, or of the only service.
    """

    documents: tuple[Document, ...]
    name: str

    @property
    def needs_kserve(self) -> bool:
        """Whether any of its objects is KServe's."""
        return any(document.api_version.startswith(_KSERVE_GROUP) for document in self.documents)


def read(sources: Sequence[str], reading: Reading) -> Inputs:
    """The objects of files, as `authoring.inputs.read` gives them, with nothing made up.

    Raises:
        MultinodeError: as `authoring.inputs.read`; MANIFEST also for a parameter of a Template that is to be
            generated; NOT_CHECKED where the files serve models in another way.
    """
    given = inputs.read(sources, replace(reading, exact=True))
    checked = bool(given.specs) or any(document.kind in KINDS for document in given.documents)
    if not checked and any(given.foreign()):
        raise inputs.not_checked(given, sources, KINDS)
    return given


def for_release(
    files: Inputs, release: Release | None = None, target: Target = "kserve", name: str = ""
) -> Given:
    """The deployment that some files describe.

    Args:
        files: what was read.
        release: that specs are rendered for; the default where there is none yet.
        target: what specs are rendered for.
        name: of the deployment, instead of its service's.

    Raises:
        MultinodeError: SPEC for a spec that is wrong; USAGE where the name is not clear.
    """
    documents = [one for one in files.rendered(release or DEFAULT, target) if one.kind]
    names = [from_document(spec).name for spec in files.specs]
    names = names or [one.name for one in documents if one.kind in ownership.SERVICES]
    if not name and len(set(names)) != 1:
        what = "they contain no service" if not names else "there are several: " + ", ".join(names)
        raise MultinodeError(
            ExitCode.USAGE, f"the name of the deployment is ambiguous: {what}.", hint="Give it with --name."
        )
    return Given(tuple(documents), name or names[0])


def with_engine(files: Inputs, engine: SupportedEngine | None) -> tuple[Inputs, list[str]]:
    """The files with the platform's engine in every spec that leaves it open, and what a user is told of it.

    Raises:
        MultinodeError: SPEC for an executor that the engine has not.
    """
    told: dict[str, None] = {}
    specs: list[Document] = []
    for document in files.specs:
        spec = from_document(document)
        if engine is not None and takes_supported(spec):
            fields = fields_of(engine, asked_executor(spec))
            told.update(dict.fromkeys(sentences(engine, fields)))
            # It has been taken as it was, so nothing more is said of its lines.
            text = to_yaml([{**document.body, **fields}])
            specs += from_text(text, document.file, Reading(untyped=True))
        else:
            specs.append(document)
    return replace(files, specs=tuple(specs)), list(told)


def runtimes_of(cluster: Cluster, given: Sequence[Document]) -> list[Document]:
    """The ServingRuntimes that services name and that only the cluster has; they decide what will serve."""
    brought = {one.name for one in given if one.kind == "ServingRuntime"}
    services = (one for one in given if one.kind == ownership.INFERENCE_SERVICE[1])
    named = {text(one.body, "spec", "predictor", "model", "runtime") for one in services}
    runtimes: list[Document] = []
    for name in sorted(named - brought - {""}):
        body = cluster.get(cluster.resource(*ownership.SERVING_RUNTIME), name)
        if body is not None:
            runtimes.append(Document(f"ServingRuntime {cluster.namespace}/{name}", 0, body))
    return runtimes

"""The size of a model that neither its spec nor the catalogue knows: asked of the source itself."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from vllm_multinode.cli.aside import aside
from vllm_multinode.contract.errors import MultinodeError

if TYPE_CHECKING:
    from vllm_multinode.authoring.inputs import Inputs
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.k8s.documents import Document

_GIB: Final = 1 << 30
_ON_A_CLAIM: Final = "file://"


def sized(files: "Inputs") -> "Inputs":
    """The same with the size of every model that only its source knows.

    Raises:
        MultinodeError: the source is not there, or does not answer; what else is wrong with a spec is told
            where it is rendered.
    """
    return replace(files, specs=tuple(_sized(document) for document in files.specs))


def sized_in(cluster: "Cluster", files: "Inputs") -> "Inputs":
    """The same with the size of every model that is copied from a claim: no more than that holds.

    Raises:
        MultinodeError: MISSING, where the claim is not there.
    """
    return replace(files, specs=tuple(_sized_in(cluster, one) if _needs(one) else one for one in files.specs))


def _sized_in(cluster: "Cluster", document: "Document") -> "Document":
    from vllm_multinode.cluster.source_claims import size_of

    source = str(document.body["model"]["source"])
    size = size_of(cluster, source)
    if size is None:
        return document
    aside(f"note: model.size is at most {size}, what the claim of {source} holds")
    return _with_size(document, size)


def whatever_size(files: "Inputs") -> "Inputs":
    """The same where sizes do not matter, as of what is deleted: no source is asked."""
    return replace(files, specs=tuple(_with_size(one, "1Gi") if _needs(one) else one for one in files.specs))


def _needs(document: "Document") -> bool:
    from vllm_multinode.authoring.spec.file import needs_size

    return needs_size(document)


def _with_size(document: "Document", size: str) -> "Document":
    # Late: --help reads no YAML.
    from vllm_multinode.k8s.documents import Reading, from_text
    from vllm_multinode.k8s.emit import to_yaml

    body = {**document.body, "model": {**document.body["model"], "size": size}}
    # Its fields have been read, so nothing more is said of its lines.
    (written,) = from_text(to_yaml([body]), document.file, Reading(untyped=True))
    return written


def _sized(document: "Document") -> "Document":
    size = asked_size(document.body["model"], document.file) if _needs(document) else None
    return document if size is None else _with_size(document, size)


def asked_size(model: Mapping[str, Any], where: str) -> str | None:
    """What a source says of its size, as a quantity; None for a claim, which only the cluster sees.

    Args:
        model: of a spec, with a source.
        where: the spec's file, for messages.

    Raises:
        MultinodeError: the source is not there, or does not answer.
    """
    source = str(model["source"])
    if source.startswith(_ON_A_CLAIM):
        return None
    # Late: what asks a network is loaded only where one is asked.
    from vllm_multinode.storage.listed_size import listed_size

    try:
        found = listed_size(source, {**_variables(model), **os.environ})
    except MultinodeError as error:
        place = where if error.where in ("", "SOURCE") else f"{where}: {error.where}"
        hint = " ".join(filter(None, (error.hint, "Or write the size of the weights as model.size.")))
        raise MultinodeError(
            error.code, f"the model's size is not known: {error.what}", where=place, hint=hint
        ) from error
    size = f"{-(-found // _GIB)}Gi"
    aside(f"note: model.size is {size}, as {source} lists it")
    return size


def _variables(model: Mapping[str, Any]) -> dict[str, str]:
    """Those of the Job that stand in the spec as they are, such as a mirror's address."""
    given = model.get("sourceEnv") or model.get("source_env") or {}
    return {str(name): value for name, value in given.items() if isinstance(value, str)}

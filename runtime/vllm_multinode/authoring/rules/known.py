"""Runtimes that services may name without bringing them along: ours, KServe's and OpenShift AI's."""

from collections.abc import Iterator, Sequence
from typing import Final

from vllm_multinode.authoring.rules.rule import MODEL, RUNTIMES
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.k8s.access import text
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.releases import Release, listed
from vllm_multinode.platforms.simulation import Body
from vllm_multinode.platforms.stock_runtimes import stock_runtimes

_OURS: Final = {executor.runtime: executor.name for executor in EXECUTORS.values()}


def known_runtimes(documents: Sequence[Document], release: Release) -> dict[str, Body]:
    """The runtimes that services name, that are not among the documents and that are known, by name."""
    named = {text(document.body, *MODEL, "runtime") for document in documents}
    given = {document.name for document in documents if document.kind in RUNTIMES}
    stock = stock_runtimes(release)
    known = {
        name: stock[name] if name in stock else _ours(_OURS[name])
        for name in named
        if name in {*stock, *_OURS}
    }
    return {name: known[name] for name in sorted(known.keys() - given)}


def origins(documents: Sequence[Document], releases: Sequence[Release]) -> Iterator[str]:
    """A sentence for each runtime of a release that was taken from what is known of it."""
    taken: dict[str, list[Release]] = {}
    for release in releases:
        for name in known_runtimes(documents, release).keys() - _OURS.keys():
            taken.setdefault(name, []).append(release)
    for name, held in taken.items():
        yield (
            f"the ServingRuntime {name} is not among the files: the one that {listed(held)} ships is assumed."
        )


def _ours(executor: ExecutorName) -> Body:
    # What renders is loaded where a service names such a runtime.
    from vllm_multinode.authoring.render.runtime import serving_runtime

    return serving_runtime(executor)

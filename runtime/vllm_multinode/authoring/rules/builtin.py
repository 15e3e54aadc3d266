"""Our own ServingRuntimes, for services that name one which was not given: it may be installed."""

from collections.abc import Sequence
from typing import Final

from vllm_multinode.authoring.rules.rule import MODEL, RUNTIMES
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.k8s.access import text
from vllm_multinode.k8s.documents import Document

_OURS: Final = {executor.runtime: executor.name for executor in EXECUTORS.values()}


def with_builtin_runtimes(documents: Sequence[Document]) -> list[Document]:
    """The documents, and behind them those of our ServingRuntimes that they name and do not hold."""
    named = {text(document.body, *MODEL, "runtime") for document in documents}
    given = {document.name for document in documents if document.kind in RUNTIMES}
    absent = [name for name in _OURS if name in named - given]
    if not absent:
        return list(documents)
    from vllm_multinode.authoring.render.runtime import serving_runtime

    return [*documents, *(Document("built in", 0, serving_runtime(_OURS[name])) for name in absent)]

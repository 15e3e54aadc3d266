"""The claims that services read their models from and that are not among the files."""

from collections.abc import Iterator, Sequence

from vllm_multinode.authoring.rules.rule import MODEL
from vllm_multinode.contract.kserve import CLAIM_SCHEME, claim_and_path
from vllm_multinode.k8s.access import text
from vllm_multinode.k8s.documents import Document


def claims_elsewhere(documents: Sequence[Document]) -> Iterator[str]:
    """A sentence for each service whose claim is not among the documents: which claim, and which folder."""
    given = {(one.namespace, one.name) for one in documents if one.kind == "PersistentVolumeClaim"}
    for document in documents:
        source = text(document.body, *MODEL, "storageUri")
        if document.kind != "InferenceService" or not source.startswith(CLAIM_SCHEME):
            continue
        claim, folder = claim_and_path(source)
        if claim and (document.namespace, claim) not in given:
            place = f"the folder {folder} of the claim {claim}" if folder else f"the claim {claim}"
            yield f"{document.name} reads {place}, which is not among these files: fill it first."

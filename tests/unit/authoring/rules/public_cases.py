"""Small inputs after public reports and public files, written for this test: tests/data/public_cases."""

from pathlib import Path
from typing import Final

from vllm_multinode.authoring.foreign import foreign
from vllm_multinode.k8s.documents import Document, Reading, from_file

FOLDER: Final = Path(__file__).parents[3] / "data" / "public_cases"
PUBLIC: Final = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def public_file(name: str) -> Path:
    """The file of a case."""
    return FOLDER / f"{name}.yaml"


def public_documents(name: str) -> list[Document]:
    """The Kubernetes objects of a case that are checked."""
    documents = from_file(public_file(name), name, Reading(untyped=True))
    return [one for one in documents if one.kind and foreign(one) is None]

"""Files, folders, kustomizations and standard input, as a user names them."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vllm_multinode.k8s.documents import KUSTOMIZATIONS, Document, from_file, from_text
from vllm_multinode.k8s.kustomize import read_kustomization
from vllm_multinode.k8s.parser import read_text, refusal

STDIN: Final = "-"
_SUFFIXES: Final = (".yaml", ".yml", ".json")


def read(sources: Iterable[str]) -> list[Document]:
    """The objects of files, folders, kustomizations and standard input ("-"), in order.

    A folder with a kustomization is built as `kubectl apply -k` does; any other gives its *.yaml, *.yml and
    *.json, as `kubectl apply -f` does. A List gives its items.

    Raises:
        MultinodeError: MANIFEST or KUSTOMIZE: one line with file and line.
    """
    found: list[Document] = []
    for source in sources:
        before = len(found)
        found += _read_one(source)
        if len(found) == before:
            raise refusal("holds no object.", source, 0, "Name a file with a manifest.")
    return found


def _read_one(source: str) -> Iterable[Document]:
    if source == STDIN:
        return from_text(read_text(sys.stdin.buffer, STDIN), STDIN)
    path = Path(source)
    try:
        if path.is_dir():
            return _read_folder(path, source)
        if path.name in KUSTOMIZATIONS:
            return _read_folder(path.parent, source)
        return from_file(path, source)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}."
        raise refusal(what, source, 0, "Name a file, a folder or '-'.") from error
    except ValueError as error:
        # A NUL in the name: no file can be called so.
        raise refusal("is no name of a file.", repr(source), 0) from error


def _read_folder(folder: Path, source: str) -> Iterable[Document]:
    if any((folder / name).is_file() for name in KUSTOMIZATIONS):
        return read_kustomization(folder, source)
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())
    return [document for path in files for document in from_file(path, str(path))]

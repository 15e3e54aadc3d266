"""Files, folders, kustomizations and standard input, as a user names them."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import KUSTOMIZATIONS, Document, Reading, from_file, from_text
from vllm_multinode.k8s.kustomize import read_kustomization
from vllm_multinode.k8s.parser import read_text, refusal

STDIN: Final = "-"
_SUFFIXES: Final = (".yaml", ".yml", ".json")


def read(sources: Iterable[str], reading: Reading | None = None) -> list[Document]:
    """The objects of files, folders, kustomizations and standard input ("-"), in order.

    A folder with a kustomization is built as `kubectl apply -k` does; any other gives its *.yaml, *.yml and
    *.json, as `kubectl apply -f` does. A List gives its items, a Template its objects.

    Raises:
        MultinodeError: MANIFEST or KUSTOMIZE: one line with file and line; USAGE for a parameter that no
            Template has.
    """
    reading = reading or Reading()
    documents: list[Document] = []
    for source in sources:
        before = len(documents)
        documents += _read_source(source, reading)
        if len(documents) == before:
            raise refusal("holds no object.", source, 0, "Name a file with a manifest.")
    declared = {name for document in documents for name in document.parameters or ()}
    for name in reading.parameters:
        if name not in declared:
            hint = f"They have {', '.join(sorted(declared))}." if declared else "Leave --param out."
            raise MultinodeError(ExitCode.USAGE, f"no Template here has the parameter {name}.", hint=hint)
    return documents


def parameters_of(options: Iterable[str]) -> dict[str, str]:
    """The values that `--param NAME=VALUE` gives.

    Raises:
        MultinodeError: USAGE.
    """
    parameters: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not name or not equals:
            what = f"--param {option!r} is not NAME=VALUE."
            raise MultinodeError(ExitCode.USAGE, what, hint="Write --param NAME=VALUE.")
        parameters[name] = value
    return parameters


def _read_source(source: str, reading: Reading) -> Iterable[Document]:
    if source == STDIN:
        return from_text(read_text(sys.stdin.buffer, STDIN), STDIN, reading)
    path = Path(source)
    try:
        if path.is_dir():
            return _read_folder(path, source, reading)
        if path.name in KUSTOMIZATIONS:
            return _read_folder(path.parent, source, reading)
        return from_file(path, source, reading)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}."
        raise refusal(what, source, 0, "Name a file, a folder or '-'.") from error
    except ValueError as error:
        # A NUL in the name: no file can be called so.
        raise refusal("is not a valid file name.", repr(source), 0) from error


def _read_folder(folder: Path, source: str, reading: Reading) -> Iterable[Document]:
    if any((folder / name).is_file() for name in KUSTOMIZATIONS):
        return read_kustomization(folder, source, reading)
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())
    return [document for path in files for document in from_file(path, str(path), reading)]

"""Reads sources: Kubernetes objects, JSON blueprints, values of charts, and Python files."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.convert.python_source import SUFFIX, read_python
from vllm_multinode.k8s.documents import Document, Reading
from vllm_multinode.k8s.files import read

_FIRST_BYTES: Final = 1 << 20
_TEMPLATE: Final = re.compile(r"\{\{-?\s*[.$a-z(]")
_COMMENT: Final = re.compile(r"^\s*(//|/\*)", re.MULTILINE)


def read_sources(sources: Sequence[str], reading: Reading) -> list[Document]:
    """Every document of some files and folders, those without apiVersion and kind included.

    Raises:
        MultinodeError: MANIFEST, KUSTOMIZE or USAGE, as `k8s.files.read` and `read_python`; what a file with
            a chart's template, or JSON with comments, needs is said.
    """
    documents: list[Document] = []
    for source in sources:
        if source.endswith(SUFFIX):
            documents += read_python(Path(source), source)
            continue
        try:
            documents += read([source], replace(reading, untyped=True))
        except MultinodeError as error:
            hint = _hint(source)
            if error.code is not ExitCode.MANIFEST or not hint:
                raise
            raise MultinodeError(error.code, error.what, where=error.where, hint=hint) from error
    return documents


def _hint(source: str) -> str:
    """What to do about a file that is not YAML yet; empty where that cannot be told."""
    path = Path(source)
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            text = file.read(_FIRST_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
    if _TEMPLATE.search(text):
        return "It is a chart's template. Convert what it makes: helm template CHART | multinode convert -"
    if path.suffix == ".json" and _COMMENT.search(text):
        return "JSON has no comments. Take the lines with // or /* out."
    return ""

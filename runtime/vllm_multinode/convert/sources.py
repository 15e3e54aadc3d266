"""Reads sources: Kubernetes objects, JSON blueprints, values of charts, and Python files."""

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.convert.python_source import SUFFIX, read_python
from vllm_multinode.k8s.documents import Document, Reading, from_text
from vllm_multinode.k8s.files import STDIN, read
from vllm_multinode.k8s.parser import read_text, refusal

TEMPLATE: Final = "It is a chart's template. Convert its output: helm template CHART | multinode convert -"
_LARGEST: Final = 8 << 20
"""Bytes of one file; Kubernetes takes objects of 3 MiB."""
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
        text = read_text(sys.stdin.buffer, STDIN) if source == STDIN else ""
        untyped = replace(reading, untyped=True)
        try:
            _check_size(source, text)
            documents += from_text(text, STDIN, untyped) if source == STDIN else read([source], untyped)
        except MultinodeError as error:
            hint = _hint(source, text)
            if error.code is not ExitCode.MANIFEST or not hint:
                raise
            raise MultinodeError(error.code, error.what, where=error.where, hint=hint) from error
    if not documents:
        raise refusal("holds no object.", sources[0] if sources else STDIN, 0, "Name a file with a manifest.")
    return documents


def is_template(text: str) -> bool:
    """Whether a text holds what only a chart's rendering fills in."""
    return _TEMPLATE.search(text) is not None


def _check_size(source: str, text: str) -> None:
    try:
        size = len(text) if source == STDIN else Path(source).stat().st_size if Path(source).is_file() else 0
    except (OSError, ValueError):
        return
    if size > _LARGEST:
        what = f"is larger than {_LARGEST >> 20} MiB, which no known source is."
        hint = "Name the files that serve the model."
        raise MultinodeError(ExitCode.MANIFEST, what, where=source, hint=hint)


def _hint(source: str, text: str) -> str:
    """What to do about a source that is not YAML yet; empty where that cannot be told."""
    path = Path(source)
    try:
        if source != STDIN:
            if not path.is_file():
                return ""
            with path.open("rb") as file:
                text = file.read(_FIRST_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
    if is_template(text):
        return TEMPLATE
    if (path.suffix == ".json" or text.lstrip().startswith("{")) and _COMMENT.search(text):
        return "JSON has no comments. Remove the lines with // or /*."
    return ""

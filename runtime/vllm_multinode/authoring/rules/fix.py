"""Fixes what can be fixed without a guess, in the text itself, so that comments and layout stay."""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import TYPE_CHECKING

from vllm_multinode.authoring.rules.edits import Splice, Text, splice
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.finding import Edit, Finding
from vllm_multinode.k8s.documents import Document, from_text
from vllm_multinode.k8s.files import STDIN
from vllm_multinode.k8s.parser import read_text
from vllm_multinode.platforms.releases import Release

if TYPE_CHECKING:
    from collections.abc import Callable

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MOST_ROUNDS = 8
"""One fix may uncover another finding: a renamed field is looked at for the first time."""


@dataclass(frozen=True)
class Fixed:
    """What was fixed in one file.

    Attributes:
        file: that was written.
        findings: that it no longer has.
    """

    file: str
    findings: tuple[Finding, ...]


def apply_fixes(
    documents: Sequence[Document],
    check: "Callable[[Sequence[Document]], list[Finding]]",
    releases: Sequence[Release],
) -> list[Fixed]:
    """Rewrite each file whose findings say how; a file is replaced as a whole or left as it is.

    A finding is fixed only where it holds for all the releases that are asked for: what is right for one of
    them may be wrong for another.

    Args:
        documents: as they were read.
        check: `validate` with its releases and model.
        releases: that are asked for.

    Raises:
        MultinodeError: MANIFEST, where a file cannot be written; USAGE for standard input.
    """
    texts: dict[str, str] = {}
    findings = check(documents)
    seen = {_place(one): one for one in findings}
    for _ in range(_MOST_ROUNDS):
        changed = False
        for file, found in _changes(findings, releases).items():
            text = texts.get(file) or _read(file)
            new = _applied(text, file, found)
            if new != text:
                changed, texts[file] = True, new
                documents = _replaced(documents, file, new)
        if not changed:
            break
        findings = check(documents)
        seen |= {_place(one): one for one in findings}
    for file, text in texts.items():
        _write(File(file), text)
    gone = [one for place, one in seen.items() if place not in set(map(_place, findings))]
    return [Fixed(file, tuple(one for one in gone if one.file == file)) for file in texts]


def _place(finding: Finding) -> tuple[str, str, str]:
    return finding.rule, finding.file, finding.path


def _changes(findings: Sequence[Finding], releases: Sequence[Release]) -> dict[str, list[Finding]]:
    """The findings that can be fixed, by file."""
    changes: dict[str, list[Finding]] = {}
    asked = tuple(releases)
    for finding in findings:
        document = finding.document
        if document is None or document.root is None or document.parameters is not None:
            continue
        if finding.fix and finding.releases == asked:
            if document.file == STDIN:
                raise MultinodeError(
                    ExitCode.USAGE,
                    "--fix has no file to write.",
                    where=STDIN,
                    hint="Give a file instead of '-'.",
                )
            changes.setdefault(document.file, []).append(finding)
    return changes


def _applied(text: str, file: str, findings: Sequence[Finding]) -> str:
    """The text with as many of the edits as can be made; what would not read back is left out."""
    edits = list(dict.fromkeys((finding.document.index, edit) for finding in findings
                               if finding.document is not None for edit in finding.fix))  # fmt: skip
    for index, edit in edits:
        changed = _edited(text, file, index, edit)
        if changed is not None:
            text = changed
    return text


def _edited(text: str, file: str, index: int, edit: Edit) -> str | None:
    documents = from_text(text, file)
    root = documents[index].root if index < len(documents) else None
    if root is None:
        return None
    place: Splice | None = splice(Text(text), root, edit)
    if place is None:
        return None
    changed = text[: place.start] + place.text + text[place.end :]
    with contextlib.suppress(MultinodeError):
        after = from_text(changed, file)
        others = [one.body for one in documents if one.index != index]
        if len(after) == len(documents) and others == [one.body for one in after if one.index != index]:
            return changed
    return None


def _replaced(documents: Sequence[Document], file: str, text: str) -> list[Document]:
    """The documents with those of one file as its new text has them, in their old places."""
    new = from_text(text, file)
    return [new[document.index] if document.file == file else document for document in documents]


def _read(file: str) -> str:
    with File(file).open("rb") as stream:
        return read_text(stream, file)


def _write(path: File, text: str) -> None:
    """Replace a file at once; permissions and a byte order mark are kept, and a link stays one."""
    target = path.resolve()
    try:
        with target.open("rb") as stream:
            mark = stream.read(len(_BYTE_ORDER_MARK))
        content = (_BYTE_ORDER_MARK if mark == _BYTE_ORDER_MARK else b"") + text.encode()
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            File(name).chmod(target.stat().st_mode & 0o7777)
            File(name).replace(target)
        except BaseException:
            File(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}."
        raise MultinodeError(
            ExitCode.MANIFEST, what, where=str(path), hint="Check its permissions."
        ) from error

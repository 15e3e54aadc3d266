"""Kustomization folders, built by the kustomize that is at hand."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import KUSTOMIZATIONS, Document, from_file, from_text
from vllm_multinode.k8s.parser import decode

TIMEOUT: Final = 60.0
"""Seconds that a build may take; one that loads a remote base needs some of them."""
_BUILDERS: Final = (("kubectl", ("kustomize",)), ("kustomize", ("build",)), ("oc", ("kustomize",)))
_DEEPEST: Final = 16
"""Kustomizations that may stand on each other."""


def builder() -> list[str]:
    """The command that builds a folder, the folder left out: kubectl, kustomize or oc.

    Looked for on PATH, and beside the running Python, where pip puts commands.

    Raises:
        MultinodeError: KUSTOMIZE, where there is none.
    """
    beside = str(Path(sys.executable).parent)
    for name, arguments in _BUILDERS:
        if found := shutil.which(name) or shutil.which(name, path=beside):
            return [found, *arguments]
    raise MultinodeError(
        ExitCode.KUSTOMIZE,
        "a kustomization needs kubectl, kustomize or oc, and none of them is on PATH.",
        hint="Install one, or name the built YAML instead of the folder.",
    )


def build(folder: Path) -> str:
    """What `kubectl kustomize` makes of a folder, as YAML.

    Raises:
        MultinodeError: KUSTOMIZE, with kustomize's own reason.
    """
    command = [*builder(), str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=TIMEOUT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        what = f"{Path(command[0]).name} had not built it after {TIMEOUT:.0f} s."
        raise _failed(folder, what, "Make its remote bases local.") from error
    except OSError as error:
        raise _failed(folder, f"{command[0]} cannot be run: {error.strerror or error}.") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason was given"]
        what = f"{Path(command[0]).name} cannot build it: {said[-1].removeprefix('error: ')}"
        raise _failed(folder, what)
    return decode(done.stdout, str(folder))


def read_kustomization(folder: Path, source: str) -> list[Document]:
    """The objects of a built kustomization, each with its source where the folder's own files show it.

    Args:
        folder: with a kustomization.yaml.
        source: the folder as the user named it, which findings will name.

    Raises:
        MultinodeError: KUSTOMIZE or MANIFEST.
    """
    made = from_text(build(folder), source)
    written = list(_written(folder, _DEEPEST))
    return [replace(document, root=None, source=_source(document, written)) for document in made]


def _failed(folder: Path, what: str, hint: str = "") -> MultinodeError:
    return MultinodeError(ExitCode.KUSTOMIZE, what, where=str(folder), hint=hint)


def _source(made: Document, written: list[Document]) -> Document | None:
    """The one written object of that kind whose name the built one holds; None where several could be."""
    fitting = [one for one in written if one.kind == made.kind and one.name and one.name in made.name]
    exact = [one for one in fitting if one.name == made.name]
    return (exact or fitting)[0] if len(exact or fitting) == 1 else None


def _written(folder: Path, depth: int) -> Iterator[Document]:
    """The objects in the local files that a kustomization names, and those that it stands on.

    What cannot be read is left out: kustomize has read it, and only lines depend on it.
    """
    for path in _named(folder):
        if path.is_dir():
            if depth:
                yield from _written(path, depth - 1)
        else:
            try:
                yield from from_file(path, str(path))
            except (OSError, MultinodeError):
                continue


def _named(folder: Path) -> Iterator[Path]:
    for name in KUSTOMIZATIONS:
        try:
            documents = from_text(_with_kind((folder / name).read_text()), str(folder / name))
        except (OSError, ValueError, MultinodeError):
            continue
        for body in (document.body for document in documents):
            for key in ("resources", "bases", "components"):
                entries = body.get(key)
                for entry in entries if isinstance(entries, list) else []:
                    path = Path(os.path.normpath(folder / str(entry)))
                    if path.exists():
                        yield path


def _with_kind(text: str) -> str:
    """A kustomization may leave out what every other object must have."""
    head = "".join(f"{key}: kustomize\n" for key in ("apiVersion", "kind") if f"{key}:" not in text)
    return head + text

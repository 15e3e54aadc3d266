"""Kustomization folders, built by the kustomize that is at hand."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from vllm_multinode.contract.bounded import open_file
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import KUSTOMIZATIONS, Document, Reading, from_file, from_text
from vllm_multinode.k8s.parser import decode, parse, read_text

TIMEOUT: Final = 60.0
"""Seconds that a build may take; one that loads a remote base needs some of them."""
_BUILDERS: Final = (("kubectl", ("kustomize",)), ("kustomize", ("build",)), ("oc", ("kustomize",)))
_DEEPEST: Final = 16
"""Kustomizations that may stand on each other."""
_FOLDERS: Final = ("resources", "bases", "components")
_LOADED: Final = (*_FOLDERS, "generators", "transformers", "validators")
"""Fields whose entries may be URLs."""
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://|git::", re.IGNORECASE)
_REPOSITORY: Final = re.compile(
    r"[^/@\s]+@[^/\s]+[:/]|(github\.com|gh|gitlab\.com|bitbucket\.org)[:/]|.*(\?(ref|version)=|\.git(/|$|\?)|[^:]//)",
    re.IGNORECASE,
)
"""How kustomize knows a Git repository, once there is no such file or folder.

Source: sigs.k8s.io/kustomize/api/internal/git/repospec.go.
"""


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
        what = f"{Path(command[0]).name} did not build it within {TIMEOUT:.0f} s."
        raise _failed(folder, what, "Make its remote bases local.") from error
    except OSError as error:
        raise _failed(folder, f"{command[0]} cannot be run: {error.strerror or error}.") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason was given"]
        what = f"{Path(command[0]).name} cannot build it: {said[-1].removeprefix('error: ')}"
        raise _failed(folder, what)
    return decode(done.stdout, str(folder))


def read_kustomization(folder: Path, source: str, reading: Reading | None = None) -> list[Document]:
    """The objects of a built kustomization, each with its source where the folder's own files show it.

    Args:
        folder: with a kustomization.yaml.
        source: the folder as the user named it, which findings will name.
        reading: whether URLs are loaded, and how.

    Raises:
        MultinodeError: KUSTOMIZE, also for a URL that was not asked for; MANIFEST.
    """
    reading = reading or Reading()
    if not reading.remote:
        for file, line, entry in _remote(folder, _DEEPEST, set()):
            what = f"the kustomization loads {entry}, and nothing is loaded from elsewhere unless asked for."
            hint = "Allow it with --remote, or make it local."
            raise MultinodeError(ExitCode.KUSTOMIZE, what, where=f"{file}:{line}", hint=hint)
    built = from_text(build(folder), source, replace(reading, untyped=False))
    written = list(_written(folder, _DEEPEST))
    return [replace(document, root=None, source=_source(document, written)) for document in built]


def _remote(folder: Path, depth: int, seen: set[Path]) -> Iterator[tuple[str, int, str]]:
    """The URLs that a kustomization and those that it stands on name, with their files and lines."""
    if folder.resolve() in seen or not depth:
        return
    seen.add(folder.resolve())
    for document in _kustomizations(folder):
        for field in _LOADED:
            entries = document.body.get(field)
            for index, entry in enumerate(entries if isinstance(entries, list) else []):
                if not isinstance(entry, str):
                    continue
                local = Path(os.path.normpath(folder / entry))
                if _URL.match(entry) or (_REPOSITORY.match(entry) and not local.exists()):
                    yield document.file, document.line((field, index)), entry
                elif local.is_dir():
                    yield from _remote(local, depth - 1, seen)


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
    try:
        kustomizations = list(_kustomizations(folder))
    except MultinodeError:
        return
    for document in kustomizations:
        for field in _FOLDERS:
            entries = document.body.get(field)
            for entry in entries if isinstance(entries, list) else []:
                path = Path(os.path.normpath(folder / str(entry)))
                if path.exists():
                    yield path


def _kustomizations(folder: Path) -> Iterator[Document]:
    """The kustomization of a folder, which may leave out apiVersion and kind; nothing where there is none.

    Raises:
        MultinodeError: MANIFEST.
    """
    for name in KUSTOMIZATIONS:
        file = str(folder / name)
        try:
            with open_file(folder / name) as stream:
                roots = parse(read_text(stream, file), file)
        except (OSError, ValueError):
            continue
        for index, root in enumerate(roots):
            if isinstance(root.value, dict):
                yield Document(file, index, root.data(), root)

"""What every source of a model offers."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from vllm_multinode.checkpoint.marker import MARKER, WORK, MarkedFile
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources.digests import Digest

_FORMS: Final = (
    "hf://org/name[@revision], s3://bucket/prefix, oci://registry/repository:tag or file:///directory"
)

LONGEST_WAIT: Final = 60.0
"""Seconds between two attempts, whatever a source asks for."""

_LONGEST_PART: Final = 255 - len(".123456789abc.partial")
"""Bytes of a file's name, with what is appended while it is unfinished."""
_LONGEST_NAME: Final = 2048
MOST_ITEMS: Final = 100_000
"""Files that a source may list: a model has a few hundred at the most."""

Tell = Callable[[int], None]
"""Takes the bytes that have come, negative where some are to come again; raises `StoppedError` to end it."""


class StoppedError(Exception):
    """Another file failed, or the program was asked to end: nothing more is written."""


class PassingError(Exception):
    """A connection broke or a source is out of breath; the same may work a little later.

    Args:
        what: why, without addresses: they may hold a signature.
        wait: seconds that the source asks to wait, 0 where it does not; LONGEST_WAIT at the most.
    """

    def __init__(self, what: str, wait: float = 0) -> None:
        super().__init__(what)
        self.wait = min(wait, LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to fetch: a file of the model, or a layer that holds files.

    Attributes:
        name: of the file, relative to the model directory; of a layer, its digest.
        size: bytes.
        digest: what its content must have; None where the source gives none.
        version: changes when the content does; what a partial file is recognised by.
    """

    name: str
    size: int
    digest: Digest | None
    version: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source has.

    Attributes:
        revision: of the whole: a commit, or a digest over names and versions.
        items: in the order in which they are to be fetched.
        unpack: where the items are not files but layers: puts the files of one into the directory and returns
            them by name, None for a file that the layer removes.
    """

    revision: str
    items: tuple[Item, ...]
    unpack: Callable[[Path, Path], dict[str, MarkedFile | None]] | None = None


class Source(Protocol):
    """Where a model comes from."""

    @property
    def name(self) -> str:
        """The address, as it was asked for."""

    def listing(self) -> Listing:
        """Ask what there is.

        Raises:
            MultinodeError: SOURCE_DENIED, MODEL_MISSING, SOURCE_UNREACHABLE.
            PassingError: it does not answer now.
        """

    def read(self, item: Item, offset: int) -> tuple[int, Iterator[bytes]]:
        """Read an item from an offset: where the bytes really begin, and the bytes.

        Raises:
            MultinodeError: as above.
            PassingError: here or while the bytes are read.
        """

    def digest(self, item: Item) -> Digest | None:
        """What the item's content must have; asked before it is fetched."""


def no_address(address: str) -> MultinodeError:
    """The refusal of an address that no source understands."""
    what = f"'{address}' names no source."
    return MultinodeError(ExitCode.USAGE, what, where="SOURCE", hint=f"One of {_FORMS}.")


def check_names(items: Iterable[Item], source: str) -> None:
    """Refuse names and sizes that cannot become the files of one directory.

    Args:
        items: that are to be written, as a source lists them.
        source: its address, for messages.

    Raises:
        MultinodeError: SOURCE_UNREACHABLE: what answers there is no source of models; MODEL_MISSING: two of
            its names exclude each other.
    """
    names: set[str] = set()
    for item in items:
        if len(names) >= MOST_ITEMS:
            what = f"it lists more than {MOST_ITEMS} files."
            raise MultinodeError(ExitCode.SOURCE_UNREACHABLE, what, where=source, hint="Use --include.")
        if fault := _fault_of(item):
            what = f"it lists {ascii(item.name)[:80]}, {fault}."
            hint = "Skip the file with --exclude if it is not part of the model."
            raise MultinodeError(ExitCode.SOURCE_UNREACHABLE, what, where=source, hint=hint)
        if item.name in names:
            what = f"it lists {item.name} twice."
            raise MultinodeError(ExitCode.MODEL_MISSING, what, where=source)
        names.add(item.name)
    for name in names:
        folder = next((str(above) for above in PurePosixPath(name).parents if str(above) in names), None)
        if folder is not None:
            what = f"it lists {folder} as a file, and as a folder with {PurePosixPath(name).name} in it."
            hint = "Skip one of them with --exclude."
            raise MultinodeError(ExitCode.MODEL_MISSING, what, where=source, hint=hint)


def _fault_of(item: Item) -> str:
    """Why an item cannot be written; empty where it can."""
    try:
        encoded = item.name.encode()
    except UnicodeEncodeError:
        return "which is not text in UTF-8"
    if not item.name.isprintable():
        return "which holds control characters"
    if len(encoded) > _LONGEST_NAME or any(len(part) > _LONGEST_PART for part in encoded.split(b"/")):
        return "which is too long for a name"
    if str(PurePosixPath(item.name)) != item.name:
        return "which is not written as a name inside a folder"
    if item.size < 0:
        return f"of {item.size} bytes"
    return ""


def is_model_file(name: str) -> bool:
    """Tell whether a name may be written into a model directory: relative, inside, not hidden, not ours."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return bool(path.parts) and not path.is_absolute() and not hidden and path.parts[0] not in (MARKER, WORK)


def version_of(items: Iterable[Item]) -> str:
    """One digest over what a source has, for sources that have no revision of their own."""
    content = "\n".join(sorted(f"{item.name}\t{item.size}\t{item.version}" for item in items))
    return hashlib.sha256(content.encode()).hexdigest()

"""What every source of a model offers, and which one an address names."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol
from urllib.parse import unquote

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.marker import MARKER, WORK, MarkedFile
from vllm_multinode.storage.digests import Digest

_FORMS: Final = (
    "hf://org/name[@revision], s3://bucket/prefix, oci://registry/repository:tag or file:///directory"
)

Tell = Callable[[int], None]
"""Takes the bytes that have come, negative where some are to come again; raises `StoppedError` to end it."""


class StoppedError(Exception):
    """Another file failed, or the program was asked to end: nothing more is written."""


class PassingError(Exception):
    """A connection broke or a source is out of breath; the same may work a little later.

    Args:
        what: why, without addresses: they may hold a signature.
        wait: seconds that the source asks to wait, 0 where it does not.
    """

    def __init__(self, what: str, wait: float = 0) -> None:
        super().__init__(what)
        self.wait = wait


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


def open_source(address: str, environment: Mapping[str, str]) -> Source:
    """The source of an address; nothing is asked yet.

    Raises:
        MultinodeError: USAGE, where the address is none, or holds a secret.
    """
    scheme, separator, rest = address.partition("://")
    if _holds_more(scheme, rest):
        # The address itself is not repeated: it would stand in the log of a Job.
        what = "the source holds a user, a token or a query, which a Job's log would show."
        mend = "Leave it out; a token is given by HF_TOKEN, AWS_* or a registry's auth file."
        raise MultinodeError(ExitCode.USAGE, what, where="SOURCE", mend=mend)
    if not separator or not rest:
        raise no_address(address)
    # Late: each of them brings its own libraries.
    if scheme == "hf":
        from vllm_multinode.storage.hub import Hub

        return Hub.parse(rest, environment)
    if scheme == "s3":
        from vllm_multinode.storage.s3 import Bucket

        return Bucket.parse(rest, environment)
    if scheme == "oci":
        from vllm_multinode.storage.registry import Image

        return Image.parse(rest, environment)
    if scheme == "file" and rest.startswith("/"):
        from vllm_multinode.storage.directory import Directory

        return Directory(Path(unquote(rest)))
    raise no_address(address)


def no_address(address: str) -> MultinodeError:
    """The refusal of an address that no source understands."""
    what = f"'{address}' names no source."
    return MultinodeError(ExitCode.USAGE, what, where="SOURCE", mend=f"One of {_FORMS}.")


def _holds_more(scheme: str, rest: str) -> bool:
    """Tell whether there is a user, or a query such as a signature, in an address.

    What stands behind the @ of name@revision and repository@digest comes after a slash; a user's before.
    """
    return scheme != "file" and ("@" in rest.partition("/")[0] or "?" in rest or "#" in rest)


def is_model_file(name: str) -> bool:
    """Tell whether a name may be written into a model directory: relative, inside, not hidden, not ours."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return bool(path.parts) and not path.is_absolute() and not hidden and path.parts[0] not in (MARKER, WORK)


def version_of(items: Iterable[Item]) -> str:
    """One digest over what a source has, for sources that have no revision of their own."""
    content = "\n".join(sorted(f"{item.name}\t{item.size}\t{item.version}" for item in items))
    return hashlib.sha256(content.encode()).hexdigest()

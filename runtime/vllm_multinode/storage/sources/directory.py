"""file:///directory: a model that lies in another claim, mounted beside the one to fill."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_multinode.checkpoint.marker import MarkedFile, read_marker
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources.digests import Algorithm, Digest
from vllm_multinode.storage.sources.source import Item, Listing, is_model_file, version_of

_CHUNK: Final = 4 << 20
_ALGORITHMS: Final[dict[str, Algorithm]] = {"sha256": "sha256", "git-sha1": "git-sha1", "md5": "md5"}


@dataclass
class Directory:
    """The files below a directory; where multinode fetch filled it, with its revision and checksums."""

    path: Path

    @property
    def name(self) -> str:
        """As it was asked for."""
        return f"file://{self.path}"

    def listing(self) -> Listing:
        """List the files, hidden ones aside.

        Raises:
            MultinodeError: MODEL_MISSING, where there are none or its own fetch has not finished.
        """
        if not self.path.is_dir():
            raise self._refused("there is no such directory.", "Check that the claim is mounted there.")
        marker = read_marker(self.path)
        if marker is not None and marker.state != "whole":
            raise self._refused("it is not complete: its own fetch has not finished.", "Finish that first.")
        digests = {name: _digest(file) for name, file in marker.files.items()} if marker is not None else {}
        items = []
        try:
            for path in sorted(_files(self.path)):
                name = path.relative_to(self.path).as_posix()
                if is_model_file(name):
                    self._refuse_outside(path)
                    status = path.stat()
                    version = f"{status.st_size}-{status.st_mtime_ns}"
                    items.append(Item(name, status.st_size, digests.get(name), version))
        except OSError as error:
            what = f"cannot be read: {error.strerror or error}."
            where = str(error.filename or self.path)
            raise MultinodeError(ExitCode.SOURCE_UNREACHABLE, what, where=where) from error
        if not items:
            raise self._refused("there is no file in it.", "Check the claim and the path.")
        return Listing((marker.revision if marker is not None else "") or version_of(items), tuple(items))

    def read(self, item: Item, offset: int) -> tuple[int, Iterator[bytes]]:
        """Read a file from an offset."""
        return offset, self._chunks(item, offset)

    def digest(self, item: Item) -> Digest | None:
        """What the marker of the source says."""
        return item.digest

    def _refuse_outside(self, path: Path) -> None:
        """A link out of the directory would copy what is not part of the model, a key of this pod say."""
        place = path.resolve()
        if not place.is_relative_to(_root(self.path.resolve())):
            what = f"{path.relative_to(self.path)} is a link that leads out of it."
            hint = "Put the file itself there, or give the folder that contains both."
            raise self._refused(what, hint)

    def _chunks(self, item: Item, offset: int) -> Iterator[bytes]:
        self._refuse_outside(self.path / item.name)
        try:
            with (self.path / item.name).open("rb") as file:
                file.seek(offset)
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            what = f"cannot be read: {error.strerror or error}."
            raise MultinodeError(
                ExitCode.SOURCE_UNREACHABLE, what, where=str(self.path / item.name)
            ) from error

    def _refused(self, what: str, hint: str) -> MultinodeError:
        return MultinodeError(ExitCode.MODEL_MISSING, what, where=self.name, hint=hint)


def _root(directory: Path) -> Path:
    """The folder that links may lead to: the directory; in a hub's cache the model's, which has the blobs."""
    if directory.parent.name == "snapshots" and (directory.parents[1] / "blobs").is_dir():
        return directory.parents[1]
    return directory


def _files(directory: Path) -> Iterator[Path]:
    """Every file below a directory; links to files are followed.

    Raises:
        OSError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(directory, onerror=fail, followlinks=False):
        yield from (Path(folder, name) for name in names if Path(folder, name).is_file())


def _digest(file: MarkedFile) -> Digest | None:
    algorithm, _, value = file.digest.partition(":")
    # The ETag of parts tells nothing without the size of a part.
    return Digest(_ALGORITHMS[algorithm], value) if algorithm in _ALGORITHMS else None

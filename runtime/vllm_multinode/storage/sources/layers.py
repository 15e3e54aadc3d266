"""The layers of an image, unpacked as far as they hold files below /models."""

import contextlib
import lzma
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, Self

from vllm_multinode.checkpoint.marker import MarkedFile
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.claim import check_room, writing
from vllm_multinode.storage.sources.source import is_model_file

MODELS: Final = "models"
_RATIO: Final = 100
"""Times its size that a layer may unpack to: weights hardly shrink, gzip packs zeros a thousandfold."""
_LEAST_BOUND: Final = 1 << 30
_MOST_FILES: Final = 100_000
_LONGEST_TEXT: Final = 1 << 18
_LONGEST_HEADER: Final = 4 << 20
"""Bytes of one header with its texts and its map of a sparse file."""
_TEXTS: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# What tarfile raises, and what comes through it for numbers, names and nesting that no archive has.
BROKEN: Final = (
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    ValueError,
    OverflowError,
    RecursionError,
    IndexError,
)
_ZSTANDARD: Final = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
"""RFC 8878, 3.1.1 and 3.1.2: a frame, or one that is to be skipped, with which parallel packers begin."""
# https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


def unpack(blob: Path, directory: Path, image: str) -> dict[str, MarkedFile | None]:
    """Put a layer's files below /models into the directory; what a layer removes, goes.

    Returns:
        The files by name; None for those that the layer has removed.

    Raises:
        MultinodeError: MODEL_MISSING, when it cannot be read as a layer or would write outside the directory.
    """
    changes: dict[str, MarkedFile | None] = {}
    most = max(_LEAST_BOUND, _RATIO * blob.stat().st_size)
    try:
        with _opened(blob, image) as archive:
            for member in archive:
                _refuse_bomb(member, archive.offset, most, len(changes))
                name = below_models(member.name)
                if name is not None and not member.isdir():
                    changes |= _apply(archive, member, name, directory, changes)
                # The archive keeps every member that it has passed.
                archive.members = []  # type: ignore[attr-defined]
    except BROKEN as error:
        said = str(error) or type(error).__name__
        raise _unusable(image, f"a layer cannot be unpacked: {said}.") from error
    return changes


class Header(tarfile.TarInfo):
    """A header whose own texts are bounded: they are read into memory before anything can be asked."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """Read one header, with what tarfile reads behind it: a map of a sparse file may go on endlessly."""
        stream: Any = tarfile.fileobj
        tarfile.fileobj = _Bounded(stream)  # type: ignore[assignment]
        try:
            return super().fromtarfile(tarfile)
        finally:
            tarfile.fileobj = stream

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read one block."""
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0:
            raise tarfile.ReadError("a member of negative length")
        if header.type in _TEXTS and header.size > _LONGEST_TEXT:
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


class _Bounded:
    """A stream of which a header may read so much and no more."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = _LONGEST_HEADER

    def read(self, size: int) -> bytes:
        """Read so many bytes, or fewer at the end."""
        self._left -= size
        if self._left < 0:
            raise tarfile.ReadError(f"a header of more than {_LONGEST_HEADER} bytes")
        return self._stream.read(size)

    def tell(self) -> int:
        """Where the stream is."""
        return self._stream.tell()

    def seek(self, position: int) -> int:
        """Go forward to a position."""
        return self._stream.seek(position)


def _refuse_bomb(member: tarfile.TarInfo, end: int, most: int, files: int) -> None:
    """Refuse what unpacks to far more than the layer that the manifest lists."""
    if member.size < 0:
        raise tarfile.ReadError("a member of negative length")
    if end > most:
        raise tarfile.ReadError(f"it unpacks to more than {_RATIO} times its size")
    if files > _MOST_FILES:
        raise tarfile.ReadError(f"it holds more than {_MOST_FILES} files of a model")


def _apply(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    name: str,
    directory: Path,
    done: Mapping[str, MarkedFile | None],
) -> dict[str, MarkedFile | None]:
    """Do what one member of a layer says."""
    path = PurePosixPath(name)
    with writing(directory / name):
        if path.name.startswith(_WHITEOUT):
            return dict.fromkeys(_remove(directory, path, done))
        if not is_model_file(name):
            return {}
        if not (member.isfile() or member.islnk()):
            raise tarfile.TarError(f"{name} is neither a file nor a folder")
        check_room(directory, member.size, member.size)
        target = directory / name
        replaced = _make_way(directory, path)
        member = member.replace(name=name, deep=False)
        if member.islnk():
            member = member.replace(linkname=below_models(member.linkname) or member.linkname, deep=False)
        # The filter keeps owners out, and everything inside the directory.
        archive.extract(member, directory, filter="data")
        return {**dict.fromkeys(replaced), name: MarkedFile(size=target.stat().st_size)}


def _make_way(directory: Path, path: PurePosixPath) -> list[str]:
    """Remove what stands where a file is to come: an upper layer may turn a folder into a file, or back.

    Returns:
        The files that went.
    """
    target = directory / path
    for above in list(path.parents)[:-1]:
        folder = directory / above
        if folder.is_file() and not folder.is_symlink():
            folder.unlink()
            return [above.as_posix()]
    if target.is_dir() and not target.is_symlink():
        gone = [file.relative_to(directory).as_posix() for file in target.rglob("*") if file.is_file()]
        shutil.rmtree(target)
        return gone
    target.unlink(missing_ok=True)
    return []


@contextlib.contextmanager
def _opened(blob: Path, image: str) -> Iterator[tarfile.TarFile]:
    """A layer as a stream of members: plain, or packed by gzip, bzip2, xz or zstandard."""
    with blob.open("rb") as file:
        packed: Any = file
        if _ZSTANDARD.match(file.peek(4)):
            try:
                import zstandard
            except ImportError as error:
                what = "a layer is compressed with zstandard, which this image cannot unpack."
                hint = "Push the model with gzip or uncompressed layers, or install the package zstandard."
                raise _unusable(image, what, hint) from error
            # Builders that let a layer be read in parts pack it in many frames.
            unpacked = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            packed = _Unpacked(unpacked, zstandard.ZstdError)
        with tarfile.open(fileobj=packed, mode="r|*", tarinfo=Header) as archive:
            yield archive


class _Unpacked:
    """A stream whose own errors are those of an archive."""

    def __init__(self, stream: IO[bytes], error: type[Exception]) -> None:
        self._stream = stream
        self._error = error

    def read(self, size: int) -> bytes:
        """Read so many bytes, or fewer."""
        try:
            return self._stream.read(size)
        except self._error as error:
            raise tarfile.ReadError(str(error)) from error


def below_models(name: str) -> str | None:
    """A member's name relative to /models; None for everything beside it."""
    parts = [part for part in PurePosixPath("/", name).parts if part not in ("/", ".")]
    return "/".join(parts[1:]) or None if parts[:1] == [MODELS] else None


def _remove(directory: Path, whiteout: PurePosixPath, done: Mapping[str, MarkedFile | None]) -> list[str]:
    """Remove what a whiteout names and the layers below have brought; returns the files that went."""
    folder = directory / whiteout.parent
    if whiteout.name == _OPAQUE:
        targets = list(folder.iterdir()) if folder.is_dir() else []
    else:
        targets = [folder / whiteout.name.removeprefix(_WHITEOUT)]
    files = []
    for target in targets:
        files += list(target.rglob("*")) if target.is_dir() else [target]
    names = [path.relative_to(directory).as_posix() for path in files if path.is_file()]
    gone = [name for name in names if is_model_file(name) and name not in done]
    for name in gone:
        (directory / name).unlink()
    return gone


def _unusable(image: str, what: str, hint: str = "") -> MultinodeError:
    return MultinodeError(ExitCode.MODEL_MISSING, what, where=image, hint=hint)

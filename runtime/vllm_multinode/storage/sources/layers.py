"""The layers of an image, unpacked as far as they hold files below /models."""

import contextlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from vllm_multinode.checkpoint.marker import MarkedFile
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.claim import writing
from vllm_multinode.storage.sources.source import is_model_file

MODELS: Final = "models"
_ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"
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
    try:
        with _opened(blob, image) as archive:
            for member in archive:
                name = _below_models(member.name)
                if name is not None and not member.isdir():
                    changes |= _apply(archive, member, name, directory, changes)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _unusable(image, f"a layer cannot be unpacked: {error}.") from error
    return changes


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
        target = directory / name
        target.unlink(missing_ok=True)
        member = member.replace(name=name, deep=False)
        if member.islnk():
            member = member.replace(linkname=_below_models(member.linkname) or member.linkname, deep=False)
        # The filter keeps owners out, and everything inside the directory.
        archive.extract(member, directory, filter="data")
        return {name: MarkedFile(size=target.stat().st_size)}


@contextlib.contextmanager
def _opened(blob: Path, image: str) -> Iterator[tarfile.TarFile]:
    """A layer as a stream of members: plain, or packed by gzip, bzip2, xz or zstandard."""
    with blob.open("rb") as file:
        packed: IO[Any] = file
        if file.peek(len(_ZSTANDARD)).startswith(_ZSTANDARD):
            try:
                import zstandard
            except ImportError as error:
                what = "a layer is packed with zstandard, which this image cannot unpack."
                hint = "Push the model with gzip or uncompressed layers, or install the package zstandard."
                raise _unusable(image, what, hint) from error
            packed = zstandard.ZstdDecompressor().stream_reader(file)
        with tarfile.open(fileobj=packed, mode="r|*") as archive:
            yield archive


def _below_models(name: str) -> str | None:
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

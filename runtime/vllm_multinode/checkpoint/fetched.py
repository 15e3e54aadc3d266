"""What `multinode fetch` says of a model directory, held against what is there."""

from collections.abc import Iterable
from pathlib import Path

from vllm_multinode.checkpoint.marker import LOCK, WORK, Marker, read_marker
from vllm_multinode.checkpoint.shards import Shard
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


def check_finished(directory: Path) -> Marker | None:
    """Read the marker of a directory whose fetch has finished; None for one that was not fetched by us.

    Raises:
        MultinodeError: MODEL_MISSING, with how far it is or why it failed.
    """
    marker = read_marker(directory)
    if marker is None or marker.state == "whole":
        return marker
    here = sum(1 for name, file in marker.files.items() if _length(directory / name) == file.size)
    since = f"{marker.at:%Y-%m-%d %H:%M} UTC"
    far = f", {here} of {len(marker.files)} files are here" if marker.files else ""
    if marker.state == "failed":
        what = f"the download of {marker.source} failed ({since}{far}): {marker.reason}"
        hint = "Run multinode fetch (its Job) again; it resumes where it stopped."
    else:
        by = f" by {marker.owner}" if marker.owner else ""
        what = f"the download of {marker.source} is not finished (started {since}{by}{far})."
        hint = "Wait for it (kubectl wait --for=condition=complete job/…), or run it again if it was killed."
    raise MultinodeError(ExitCode.MODEL_MISSING, what, where=str(directory), hint=hint)


def under_way(directory: Path) -> str | None:
    """Say how far a fetch is; None where none is to be waited for.

    A directory without a model is waited for too: its fetch has not started. One that has failed is not.
    """
    try:
        marker = read_marker(directory)
        content = [path.name for path in directory.iterdir()]
    except (OSError, MultinodeError):
        return None
    if marker is None:
        return "its fetch has not started" if not set(content) - {LOCK, WORK} else None
    if marker.state != "fetching":
        return None
    here = sum(1 for name, file in marker.files.items() if _length(directory / name) == file.size)
    return f"{marker.source}, {here} of {len(marker.files)} files are here"


def check_shards(directory: Path, marker: Marker, shards: Iterable[Shard]) -> None:
    """Hold the weights that the engine loads against those that were fetched.

    Other files may have been changed on purpose since: a chat template, a configuration.

    Raises:
        MultinodeError: MODEL_MISSING, with the file that differs.
    """
    for shard in shards:
        fetched = marker.files.get(shard.name)
        if fetched is not None and fetched.size == shard.bytes:
            continue
        said = (
            f"has {shard.bytes} bytes and was fetched with {fetched.size}"
            if fetched
            else "was not fetched with it"
        )
        what = f"this file differs from the one of {marker.source}: it {said}."
        hint = "Empty the directory and run multinode fetch again."
        raise MultinodeError(ExitCode.MODEL_MISSING, what, where=str(directory / shard.name), hint=hint)


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1

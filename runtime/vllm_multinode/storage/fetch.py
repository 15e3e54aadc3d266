"""Fill a directory with a model, so that what stands there is whole or says that it is not."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from vllm_multinode.checkpoint.kinds import refuse_kind
from vllm_multinode.checkpoint.marker import MarkedFile, Marker, now, read_marker, write_marker
from vllm_multinode.checkpoint.model_directory import read_model
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.claim import GIB, clear, prepare, refuse_foreign_weights, remove, writing
from vllm_multinode.storage.filling import Filling
from vllm_multinode.storage.lease import Lease
from vllm_multinode.storage.selection import select
from vllm_multinode.storage.sources.bounded import within
from vllm_multinode.storage.sources.source import Listing, PassingError, Source, StoppedError, check_names
from vllm_multinode.storage.unpacking import Unpacking

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 5
_LISTING: Final = 600.0
"""Seconds that a source may take to list its files, attempts together."""


@dataclass(frozen=True)
class Options:
    """How to fetch.

    Attributes:
        include: patterns of names to fetch, instead of what vLLM loads.
        exclude: patterns of names to leave out.
        parallel: files at once.
        every: seconds between two lines of progress.
        refresh: ask the source although the directory is whole, and fetch what has changed.
        sizes_only: hold files against their sizes alone, not against checksums.
        owner: who fetches, for others who want to.
        backoff: seconds before a second attempt.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    parallel: int = 4
    every: float = 30.0
    refresh: bool = False
    sizes_only: bool = False
    owner: str = "multinode fetch"
    backoff: float = 1.0


def fetch(source: Source, directory: Path, options: Options) -> Marker:
    """Bring a model into a directory; goes on where an earlier run broke off.

    Returns:
        What the directory holds now.

    Raises:
        MultinodeError: SOURCE_UNREACHABLE, SOURCE_DENIED, CLAIM_FULL, NOT_WRITABLE; MODEL_MISSING,
            MODEL_CONFIG, SHARD_TRUNCATED or SHARD_ABSENT when the source has no whole model; CONFLICT.
    """
    if not options.refresh and (marker := _whole(source, directory)):
        return marker
    prepare(directory)
    stop = threading.Event()
    with Lease(directory, options.owner, stop) as lease:
        # Another may have finished it while this one waited.
        marker = None if options.refresh else _whole(source, directory)
        if marker is None:
            listing = _listing(source, options, stop)
            if listing.unpack is None:
                # Before anything is fetched: it may be hundreds of gigabytes.
                refuse_kind((item.name for item in listing.items), source.name, "source")
            before = _marker(directory)
            marker = _whole(source, directory) if _lists_the_same(before, listing) else None
        if marker is None:
            with _unfinished(source, directory, listing, options.owner, lease) as begun:
                try:
                    files = _fill(source, directory, listing, before, options, stop)
                except StoppedError:
                    lease.check()
                    raise
                lease.check()
                read_model(directory, unfinished=True)
            marker = _finish(directory, begun, files)
        clear(directory)
    return marker


def _whole(source: Source, directory: Path) -> Marker | None:
    """The marker, where the directory holds this source whole: every file with the length that it had."""
    marker = _marker(directory)
    if marker is None or marker.state != "whole" or marker.source != source.name:
        return None
    for name, file in marker.files.items():
        try:
            if (directory / name).stat().st_size != file.size:
                return None
        except OSError:
            return None
    return marker


def _lists_the_same(marker: Marker | None, listing: Listing) -> bool:
    if marker is None or marker.revision != listing.revision:
        return False
    return listing.unpack is not None or marker.files.keys() == {item.name for item in listing.items}


def _marker(directory: Path) -> Marker | None:
    """The marker; None also for one that cannot be read, which is written again."""
    try:
        return read_marker(directory)
    except MultinodeError as error:
        log.warning("%s", error)
        return None


def _listing(source: Source, options: Options, stop: threading.Event) -> Listing:
    """What there is to fetch, asked for a few times."""
    end = time.monotonic() + _LISTING
    for attempt in range(1, _ATTEMPTS + 1):
        left = max(end - time.monotonic(), 1)
        try:
            found = within(left, source.listing, "its list of files")
        except PassingError as error:
            if attempt == _ATTEMPTS or time.monotonic() >= end:
                what = f"{error} ({attempt} times in a row)."
                hint = "Check the network, the proxy and the address."
                raise MultinodeError(
                    ExitCode.SOURCE_UNREACHABLE, what, where=source.name, hint=hint
                ) from error
            pause = max(error.wait, options.backoff * 2 ** (attempt - 1))
            log.warning("%s; again in %.0f s", error, pause)
            if stop.wait(pause):
                raise StoppedError from error
        else:
            break
    if found.unpack is not None:
        return found
    items = select(found.items, options.include, options.exclude)
    if not items:
        what = f"none of its {len(found.items)} files is to be fetched."
        raise MultinodeError(
            ExitCode.MODEL_MISSING, what, where=source.name, hint="Check --include and --exclude."
        )
    check_names(items, source.name)
    return Listing(found.revision, items)


@contextmanager
def _unfinished(
    source: Source, directory: Path, listing: Listing, owner: str, lease: Lease
) -> Iterator[Marker]:
    """Let the marker say that the directory is not whole, and why where the block fails."""
    planned = {} if listing.unpack else {item.name: MarkedFile(size=item.size) for item in listing.items}
    begun = Marker(
        state="fetching",
        source=source.name,
        revision=listing.revision,
        files=planned,
        bytes=sum(item.size for item in listing.items),
        at=now(),
        version=version("vllm-multinode"),
        owner=owner,
    )
    with writing(directory):
        write_marker(directory, begun)
    try:
        yield begun
    except BaseException as error:
        # Whoever has taken the directory over says himself how it is.
        if not lease.lost:
            reason = str(error) if isinstance(error, MultinodeError) else "it was stopped."
            # A full claim may have no room for it; then the marker goes on to say "fetching".
            with contextlib.suppress(OSError):
                failed = begun.model_copy(update={"state": "failed", "reason": reason, "at": now()})
                write_marker(directory, failed)
        raise


def _fill(
    source: Source,
    directory: Path,
    listing: Listing,
    before: Marker | None,
    options: Options,
    stop: threading.Event,
) -> dict[str, MarkedFile]:
    """Bring everything; returns the files of the model."""
    same = before is not None and (before.source, before.revision) == (source.name, listing.revision)
    log.info(
        "%s at %s: %d %s, %.2f GiB, to %s",
        source.name,
        listing.revision.removeprefix("sha256:")[:12],
        len(listing.items),
        "layers" if listing.unpack else "files",
        sum(item.size for item in listing.items) / GIB,
        directory,
    )
    if listing.unpack is not None:
        return Unpacking(source, directory, listing, listing.unpack, options, stop).run(before, again=same)
    names = {item.name for item in listing.items}
    earlier = before.files if before is not None else {}
    refuse_foreign_weights(directory, names | earlier.keys())
    remove(directory, earlier.keys() - names)
    return Filling(source, directory, listing, options, stop).run(earlier, again=same)


def _finish(directory: Path, begun: Marker, files: dict[str, MarkedFile]) -> Marker:
    """Say that the directory is whole."""
    whole = begun.model_copy(
        update={
            "state": "whole",
            "files": dict(sorted(files.items())),
            "bytes": sum(file.size for file in files.values()),
            "at": now(),
        }
    )
    with writing(directory):
        write_marker(directory, whole)
    return whole

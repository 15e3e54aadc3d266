"""The files of a source into the directory, a few at a time."""

import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vllm_multinode.checkpoint.marker import MarkedFile
from vllm_multinode.storage.claim import GIB, check_room, length_of, partial_of, remove
from vllm_multinode.storage.progress import Progress
from vllm_multinode.storage.sources.digests import Digest
from vllm_multinode.storage.sources.source import Item, Listing, Source, StoppedError
from vllm_multinode.storage.transfer import Transfer, checksum_of

log = logging.getLogger(__name__)


class Manner(Protocol):
    """The options that matter here; see `fetch.Options`."""

    @property
    def parallel(self) -> int:
        """Files at once."""

    @property
    def every(self) -> float:
        """Seconds between two lines of progress."""

    @property
    def sizes_only(self) -> bool:
        """Without checksums."""

    @property
    def backoff(self) -> float:
        """Seconds before a second attempt."""


@dataclass(frozen=True)
class Filling:
    """One run over the files of a source."""

    source: Source
    directory: Path
    listing: Listing
    manner: Manner
    stop: threading.Event

    def run(self, earlier: Mapping[str, MarkedFile], *, again: bool) -> dict[str, MarkedFile]:
        """Fetch what is not there.

        Args:
            earlier: files that an earlier run meant to fetch or has fetched.
            again: that was the same revision: a file under its own name had been checked.
        """
        have = {
            item.name: digest
            for item in self.listing.items
            if (digest := self._present(item, earlier.get(item.name), again=again)) is not None
        }
        missing = [item for item in self.listing.items if item.name not in have]
        total = sum(item.size for item in self.listing.items)
        here = total - sum(item.size for item in missing)
        begun = sum(
            min(length_of(partial_of(self.directory, item.name, item.version)), item.size) for item in missing
        )
        if here or begun:
            log.info(
                "%.2f GiB are here already, of them %.2f GiB unfinished", (here + begun) / GIB, begun / GIB
            )
        check_room(self.directory, total - here - begun, total)
        with Progress(total, here, self.manner.every) as progress:
            transfer = Transfer(self.source, progress.tell, self.stop, self.manner.backoff)
            have |= self._fetch_all(transfer, missing)
        return {item.name: MarkedFile(size=item.size, digest=have[item.name]) for item in self.listing.items}

    def _present(self, item: Item, earlier: MarkedFile | None, *, again: bool) -> str | None:
        """The digest (empty where there is none) of a file that is there and right; one that is not, goes."""
        path = self.directory / item.name
        if not path.is_file():
            return None
        if length_of(path) == item.size:
            said = _text(item.digest)
            if again or (said and earlier is not None and earlier.digest == said):
                return said
            if item.digest is not None and not self.manner.sizes_only:
                log.info("%s is here; comparing its checksum", item.name)
                if checksum_of(path, item.digest, self.stop) == item.digest.value:
                    return said
        remove(self.directory, (item.name,))
        return None

    def _fetch_all(self, transfer: Transfer, missing: list[Item]) -> dict[str, str]:
        pool = ThreadPoolExecutor(self.manner.parallel, thread_name_prefix="fetch")
        futures: dict[str, Future[str]] = {}
        try:
            # The largest first, so that none is left alone at the end.
            for item in sorted(missing, key=lambda item: -item.size):
                futures[item.name] = pool.submit(self._fetch_one, transfer, item)
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            _raise_first(futures.values())
        except BaseException as error:
            self.stop.set()
            # A thread that waits for a server sees it when that answers; who was told to end does not wait.
            pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
            raise
        pool.shutdown()
        return {name: future.result() for name, future in futures.items()}

    def _fetch_one(self, transfer: Transfer, item: Item) -> str:
        digest = None if self.manner.sizes_only else self.source.digest(item)
        transfer.fetch(
            item, self.directory / item.name, partial_of(self.directory, item.name, item.version), digest
        )
        return _text(digest)


def _raise_first(futures: Iterable[Future[str]]) -> None:
    """Raise what made the others stop, where anything failed."""
    failed = [error for one in futures if one.done() and (error := one.exception()) is not None]
    if failed:
        raise next((error for error in failed if not isinstance(error, StoppedError)), failed[0])


def _text(digest: Digest | None) -> str:
    return str(digest) if digest is not None else ""

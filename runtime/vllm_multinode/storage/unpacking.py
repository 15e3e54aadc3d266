"""The layers of an image into the directory, one after the other: each is fetched, unpacked and removed."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from vllm_multinode.checkpoint.marker import WORK, MarkedFile, Marker
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.claim import (
    check_room,
    length_of,
    partial_of,
    refuse_foreign_weights,
    remove,
    writing,
)
from vllm_multinode.storage.filling import Manner
from vllm_multinode.storage.progress import Progress
from vllm_multinode.storage.sources.source import Item, Listing, Source
from vllm_multinode.storage.transfer import Transfer

log = logging.getLogger(__name__)

Files = dict[str, MarkedFile | None]
_FILES: Final = TypeAdapter(Files)


@dataclass(frozen=True)
class Unpacking:
    """One run over the layers of an image."""

    source: Source
    directory: Path
    listing: Listing
    unpack: Callable[[Path, Path], Files]
    manner: Manner
    stop: threading.Event

    def run(self, before: Marker | None, *, again: bool) -> dict[str, MarkedFile]:
        """Fetch and unpack what is not there.

        Args:
            before: what an earlier run has left; None without one.
            again: that was the same image, so that what it has unpacked counts.
        """
        unpacked = self._unpacked() if again else {}
        if not again:
            self._start_anew(before)
        missing = [item for item in self.listing.items if item.name not in unpacked]
        total = sum(item.size for item in self.listing.items)
        left = sum(item.size for item in missing)
        begun = sum(max(length_of(self._blob(one)), length_of(self._partial(one))) for one in missing)
        # A layer lies beside its files until it is unpacked.
        beside = max((item.size for item in missing), default=0)
        check_room(self.directory, left - begun + beside, total + beside)
        with Progress(total, total - left, self.manner.every) as progress:
            transfer = Transfer(self.source, progress.tell, self.stop, self.manner.backoff)
            for item in missing:
                unpacked[item.name] = self._bring(transfer, item)
        return self._together(unpacked)

    def _bring(self, transfer: Transfer, item: Item) -> Files:
        blob = self._blob(item)
        if not blob.is_file() or length_of(blob) != item.size:
            digest = None if self.manner.sizes_only else item.digest
            transfer.fetch(item, blob, self._partial(item), digest)
        else:
            transfer.tell(item.size)
        files = self.unpack(blob, self.directory)
        mark = self._mark(item)
        with writing(mark):
            mark.write_bytes(_FILES.dump_json(files))
            blob.unlink()
        return files

    def _together(self, unpacked: dict[str, Files]) -> dict[str, MarkedFile]:
        """What is left of all layers, the upper ones over the lower ones."""
        files: Files = {}
        for item in self.listing.items:
            files |= unpacked[item.name]
        found = {name: file for name, file in files.items() if file is not None}
        if not found:
            raise MultinodeError(
                ExitCode.MODEL_MISSING,
                "the image holds no file below /models.",
                where=self.source.name,
                hint="Copy the model to /models when the image is built, as for a modelcar.",
            )
        return found

    def _unpacked(self) -> dict[str, Files]:
        """Layers that an earlier run has done; only the first ones in a row, since they lie on each other."""
        done: dict[str, Files] = {}
        for item in self.listing.items:
            try:
                done[item.name] = _FILES.validate_json(self._mark(item).read_bytes())
            except (OSError, ValueError):
                break
        return done

    def _start_anew(self, before: Marker | None) -> None:
        """Remove what another image or another version of this one has left."""
        earlier = set(before.files) if before is not None else set()
        for mark in (self.directory / WORK).glob("*.json"):
            try:
                earlier |= _FILES.validate_json(mark.read_bytes()).keys()
            except (OSError, ValueError):
                log.warning("%s cannot be read; it is removed", mark)
            remove(self.directory, (mark.relative_to(self.directory).as_posix(),))
        refuse_foreign_weights(self.directory, earlier)
        remove(self.directory, earlier)

    def _blob(self, item: Item) -> Path:
        return self.directory / WORK / f"{item.name}.blob"

    def _mark(self, item: Item) -> Path:
        return self.directory / WORK / f"{item.name}.json"

    def _partial(self, item: Item) -> Path:
        return partial_of(self.directory, item.name, item.version)

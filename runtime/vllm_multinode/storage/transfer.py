"""One file from a source into the claim: from where it broke off, checked, and only then under its name."""

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.claim import writing
from vllm_multinode.storage.sources.bounded import LEAST
from vllm_multinode.storage.sources.digests import Digest, running
from vllm_multinode.storage.sources.source import Item, PassingError, Source, StoppedError, Tell

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 6
_LONGEST_WAIT: Final = 60.0
_CHUNK: Final = 4 << 20


@dataclass(frozen=True)
class Transfer:
    """How files come.

    Attributes:
        source: where from.
        tell: takes the bytes that came; what a partial file had counts as well.
        stop: set to end every transfer.
        backoff: seconds before the second attempt; doubled each time, 60 at most.
    """

    source: Source
    tell: Tell
    stop: threading.Event
    backoff: float = 1.0

    def fetch(self, item: Item, target: Path, partial: Path, digest: Digest | None) -> None:
        """Bring one item to `target`, over `partial`.

        Raises:
            MultinodeError: SOURCE_UNREACHABLE when it breaks off again and again without progress in between,
                SHARD_TRUNCATED when the content is twice not what the source says, CLAIM_FULL, NOT_WRITABLE,
                and what the source rejects with.
            StoppedError: `stop` was set.
        """
        failures = wrong = 0
        # What a source without ranges sends again is no progress, nor are a few bytes a request.
        reached = _size(partial)
        while True:
            try:
                found = self._attempt(item, partial, digest)
            except PassingError as error:
                failures += 1
                if _size(partial) - reached >= LEAST:
                    failures, reached = 1, _size(partial)
                self._again(item, failures, error)
                continue
            if digest is None or found == digest.value:
                break
            wrong += 1
            self.tell(-item.size)
            partial.unlink()
            reached = 0
            if wrong > 1:
                raise _differs(item, digest)
            log.warning("%s does not match the source's checksum; it is fetched again", item.name)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)

    def _attempt(self, item: Item, partial: Path, digest: Digest | None) -> str:
        """Read what is missing; returns the checksum of the whole."""
        with writing(partial):
            partial.parent.mkdir(parents=True, exist_ok=True)
            file = partial.open("r+b" if partial.exists() else "w+b")
        content = _Content(file, item, digest, self.tell)
        try:
            content.take_up(self.stop)
            if content.length < item.size:
                self._read(item, content)
            with writing(partial):
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            # It counts again when it is taken up again.
            self.tell(-content.length)
            raise
        finally:
            # Closing writes what is left in the buffer, and fails where the claim is full.
            with writing(partial):
                file.close()
        return content.checksum.hexdigest()

    def _read(self, item: Item, content: "_Content") -> None:
        begin, chunks = self.source.read(item, content.length)
        if begin != content.length:
            # The source knows no ranges.
            content.cut()
        for chunk in chunks:
            if self.stop.is_set():
                raise StoppedError
            content.add(chunk)
            if content.length > item.size:
                break
        if content.length != item.size:
            length = content.length
            if length > item.size:
                content.cut()
            raise PassingError(f"{length} bytes came of {item.size}")

    def _again(self, item: Item, failures: int, error: PassingError) -> None:
        """Wait before the next attempt, or give up."""
        if failures >= _ATTEMPTS:
            what = f"{error} ({failures} times in a row)."
            hint = "Run it again: it resumes where it stopped."
            raise MultinodeError(ExitCode.SOURCE_UNREACHABLE, what, where=item.name, hint=hint) from error
        wait = min(max(error.wait, self.backoff * 2 ** (failures - 1)), _LONGEST_WAIT)
        log.warning("%s: %s; again in %.0f s", item.name, error, wait)
        if self.stop.wait(wait):
            raise StoppedError


class _Content:
    """A partial file with the checksum of what is in it."""

    def __init__(self, file: BinaryIO, item: Item, digest: Digest | None, tell: Tell) -> None:
        self._file = file
        self._item = item
        self._digest = digest
        self._tell = tell
        self.checksum = running(digest, item.size)
        self.length = 0

    def take_up(self, stop: threading.Event) -> None:
        """Go over what an earlier attempt has left, to its end."""
        have = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        if have > self._item.size:
            self._file.truncate()
            return
        if self._digest is None:
            self._file.seek(have)
            self._count(have)
            return
        while chunk := self._file.read(_CHUNK):
            if stop.is_set():
                raise StoppedError
            self.checksum.update(chunk)
            self._count(len(chunk))

    def add(self, chunk: bytes) -> None:
        """Write the next bytes."""
        with writing(Path(self._item.name)):
            self._file.write(chunk)
        self.checksum.update(chunk)
        self._count(len(chunk))

    def cut(self) -> None:
        """Begin at the beginning again."""
        self._file.seek(0)
        self._file.truncate()
        self.checksum = running(self._digest, self._item.size)
        self._count(-self.length)

    def _count(self, number: int) -> None:
        self.length += number
        self._tell(number)


def checksum_of(path: Path, digest: Digest, stop: threading.Event) -> str:
    """The checksum of a file that is there.

    Raises:
        StoppedError: `stop` was set.
        OSError: it cannot be read.
    """
    found = running(digest, path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if stop.is_set():
                raise StoppedError
            found.update(chunk)
    return found.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _differs(item: Item, digest: Digest) -> MultinodeError:
    return MultinodeError(
        ExitCode.SHARD_TRUNCATED,
        f"the content differed from the source's checksum twice ({digest.algorithm} {digest.value}).",
        where=item.name,
        hint="The copy at the source is damaged; upload it again there.",
    )

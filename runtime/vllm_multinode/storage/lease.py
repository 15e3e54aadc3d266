"""One fetch at a time in a directory, over any number of machines.

Not flock(2): on NFS with `nolock`, on Lustre with `localflock` and on some FUSE filesystems it is granted to
everyone. A file that only one can make, whose owner writes a new number into it every few seconds, works
wherever a file that was closed can be read elsewhere. A number that stands still belongs to the dead.
"""

import json
import logging
import os
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vllm_multinode.checkpoint.marker import LOCK
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.claim import writing
from vllm_multinode.storage.sources.source import StoppedError

log = logging.getLogger(__name__)

_SAY: Final = 60.0


@dataclass
class Lease:
    """The right to write into a directory, while the block runs.

    Attributes:
        directory: of the model.
        owner: who asks: the pod's name.
        stop: set when the right was lost, so that nothing more is written.
        beat: seconds between two signs of life.
        stale: seconds without one, after which the owner is taken for dead.
    """

    directory: Path
    owner: str
    stop: threading.Event
    beat: float = 5.0
    stale: float = 30.0
    _id: str = field(default_factory=lambda: uuid.uuid4().hex)
    _descriptor: int = -1
    _released: threading.Event = field(default_factory=threading.Event)
    _beating: threading.Thread | None = None
    lost: bool = False

    def __enter__(self) -> Self:
        while not self._make():
            self._wait_until_free()
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        if self._beating is not None:
            self._beating.join(self.beat)
        if self._is_ours():
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def check(self) -> None:
        """Raise where the right was lost.

        Raises:
            MultinodeError: CONFLICT.
        """
        if self.lost or not self._is_ours():
            self.lost = True
            what = "another fetch has taken over this directory, because this one was inactive for too long."
            raise MultinodeError(
                ExitCode.CONFLICT, what, where=str(self._path), hint="Keep only one of the two Jobs."
            )

    @property
    def _path(self) -> Path:
        return self.directory / LOCK

    def _make(self) -> bool:
        try:
            with writing(self._path):
                try:
                    self._descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o664)
                except FileExistsError:
                    return False
                self._write(0)
        except MultinodeError:
            self._path.unlink(missing_ok=True)
            raise
        return True

    def _write(self, number: int) -> None:
        content = json.dumps({"owner": self.owner, "id": self._id, "beat": number})
        os.pwrite(self._descriptor, content.encode(), 0)
        os.fsync(self._descriptor)

    def _beat(self) -> None:
        number = 0
        while not self._released.wait(self.beat):
            number += 1
            try:
                self._write(number)
                ours = self._is_ours()
            except OSError as error:
                # A full claim takes no beat; its transfers will say so.
                log.warning("%s: %s", self._path, error.strerror)
                continue
            if not ours:
                self.lost = True
                self.stop.set()
                return

    def _is_ours(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _wait_until_free(self) -> None:
        """Return when the file is gone, or was taken from an owner that gave no sign of life."""
        seen, since = self._content(), time.monotonic()
        said = 0.0
        while (content := self._content()) is not None:
            if content != seen:
                seen, since = content, time.monotonic()
            if time.monotonic() - since >= self.stale:
                return self._take_from(content)
            if not said or time.monotonic() - said >= _SAY:
                log.info("%s fetches into %s; waiting for it", _owner(content), self.directory)
                said = time.monotonic()
            if self.stop.wait(min(self.beat, self.stale / 4)):
                raise StoppedError
        return None

    def _take_from(self, content: bytes) -> None:
        log.warning("%s was inactive for %.0f s; taking over", _owner(content), self.stale)
        aside = self._path.with_name(f"{LOCK}.{self._id}")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return
        aside.unlink(missing_ok=True)
        # Whoever made the file in the same instant sees at its next beat that it is gone, and writes no more.
        time.sleep(self.beat)

    def _content(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None


def _owner(content: bytes) -> str:
    try:
        return str(json.loads(content)["owner"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "Another fetch"

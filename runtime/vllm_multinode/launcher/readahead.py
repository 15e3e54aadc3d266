"""Reads weight files into the page cache while the node waits for its peers.

The engine reads the files again in any case, so nothing here is an error: what goes wrong is logged, and the
engine starts with a colder cache.
"""

import logging
import mmap
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vllm_multinode.checkpoint.model_directory import Model
from vllm_multinode.checkpoint.stages import shards_of_stage
from vllm_multinode.launcher.memory import available_memory
from vllm_multinode.launcher.settings import Sizes
from vllm_multinode.launcher.sizes import stages_of_node

logger = logging.getLogger(__name__)

CHUNK = 8 * 1024 * 1024
"""Bytes of one read, and of the one buffer."""

# Chunks between two looks at the memory that is left.
_LOOK_EVERY = 32
_NICE = 10
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the reading is.

    Attributes:
        done: bytes read.
        total: bytes of all files, as far as they are known.
        finished: nothing more will be read, for whatever reason.
    """

    done: int
    total: int
    finished: bool


class ReadAhead:
    """One thread that reads files in order, once.

    Only advising the kernel is not enough: network filesystems ignore the advice. So the files are read, into
    one buffer that is thrown away, by a thread that any other has precedence over.

    Args:
        files: in the order in which the engine will read them.
        share: of the available memory that may be filled, 0 to 1; measured again every few chunks.
        memory: returns the available bytes.
    """

    def __init__(
        self, files: Sequence[Path], *, share: float = 0.7, memory: Callable[[], int] = available_memory
    ) -> None:
        self._files = tuple(files)
        self._share = share
        self._memory = memory
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._done = 0
        self._total = 0
        self._finished = False

    @property
    def progress(self) -> Progress:
        """A snapshot for `/status`."""
        return Progress(self._done, self._total, self._finished)

    def start(self) -> None:
        """Begin to read. Once only."""
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> bool:
        """Stop after the chunk at hand.

        Args:
            timeout: seconds to wait. A filesystem that hangs holds the thread for longer; being a daemon, it
                does not hold up the process's end.

        Returns:
            Whether the thread has ended.
        """
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        began = time.monotonic()
        self._give_way()
        self._total = sum(filter(None, (_size(path) for path in self._files)))
        with mmap.mmap(-1, CHUNK) as pages, memoryview(pages) as buffer:
            for path in self._files:
                if not self._read(path, buffer):
                    break
        self._finished = True
        seconds = time.monotonic() - began
        logger.info(
            "Read ahead %.2f of %.2f GiB of weights in %.1f s.",
            self._done / _GIB,
            self._total / _GIB,
            seconds,
        )

    def _read(self, path: Path, buffer: memoryview) -> bool:
        """Read one file; return whether to go on with the next."""
        try:
            with path.open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
                return self._read_chunks(file, buffer)
        except OSError as error:
            logger.warning("Reading ahead of %s stopped: %s.", path, error.strerror or error)
            return True

    def _read_chunks(self, file: BinaryIO, buffer: memoryview) -> bool:
        chunks = 0
        while not self._stopping.is_set():
            if chunks % _LOOK_EVERY == 0 and self._done + CHUNK > self._share * self._memory():
                logger.info("Reading ahead ends here: %.0f %% of the memory is filled.", 100 * self._share)
                return False
            os.posix_fadvise(file.fileno(), (chunks + 1) * CHUNK, CHUNK, os.POSIX_FADV_WILLNEED)
            read = file.readinto(buffer)  # type: ignore[attr-defined]  # an unbuffered file has it
            if not read:
                return True
            self._done += read
            chunks += 1
        return False

    def _give_way(self) -> None:
        """Let every other thread go first: on Linux a thread has a niceness of its own."""
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        except OSError as error:
            logger.debug("The read-ahead thread keeps its priority: %s.", error.strerror or error)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def files_of_node(model: Model, sizes: Sizes, rank: int) -> tuple[Path, ...]:
    """The weight files of a node's pipeline stages, each once, in the order of the stages."""
    names = {
        shard.name: None
        for stage in stages_of_node(sizes, rank)
        for shard in shards_of_stage(model, stage, sizes.pipeline_parallel)
    }
    return tuple(model.path / name for name in names)

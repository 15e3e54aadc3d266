import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vllm_multinode.launcher.readahead import CHUNK, ReadAhead

MUCH = 1024**4


def finished(reader: ReadAhead, deadline: float = 10) -> None:
    end = time.monotonic() + deadline
    while not reader.progress.finished:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert reader.stop()


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_every_byte_is_read_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sizes = (0, 1, CHUNK, CHUNK + 1)
    files = [sparse(tmp_path / str(number), size) for number, size in enumerate(sizes)]
    reader = ReadAhead(files, memory=lambda: MUCH)
    assert not reader.progress.finished
    reader.start()
    finished(reader)
    assert reader.progress.done == reader.progress.total == sum(sizes)
    assert "Read ahead 0.02 of 0.02 GiB" in caplog.text


def test_a_file_that_cannot_be_read_is_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [tmp_path / "absent", tmp_path, sparse(tmp_path / "whole", 7)]
    reader = ReadAhead(files, memory=lambda: MUCH)
    reader.start()
    finished(reader)
    assert reader.progress.done == 7
    assert "absent stopped: No such file or directory" in caplog.text


@pytest.mark.parametrize(
    ("memory", "most"),
    [
        pytest.param(lambda: 0, 0, id="none-known"),
        pytest.param(lambda: 4 * CHUNK, 2 * CHUNK, id="half-of-what-is-there"),
    ],
)
def test_no_more_than_the_share_is_filled(tmp_path: Path, memory: Callable[[], int], most: int) -> None:
    files = [sparse(tmp_path / str(number), CHUNK) for number in range(6)]
    reader = ReadAhead(files, share=0.5, memory=memory)
    reader.start()
    finished(reader)
    assert reader.progress.done == most
    assert reader.progress.total == 6 * CHUNK


def test_memory_that_others_take_meanwhile_is_noticed(tmp_path: Path) -> None:
    answers = iter([MUCH, 0])
    reader = ReadAhead([sparse(tmp_path / "large", 1024 * CHUNK)], memory=lambda: next(answers))
    reader.start()
    finished(reader)
    assert 0 < reader.progress.done < 64 * CHUNK


def test_it_stops_at_once(tmp_path: Path) -> None:
    reader = ReadAhead([sparse(tmp_path / "large", 1 << 40)], memory=lambda: 1 << 50)
    reader.start()
    end = time.monotonic() + 5
    while not reader.progress.done:
        assert time.monotonic() < end
        time.sleep(0.001)
    # Of a file that takes minutes: the chunk at hand, and no more.
    assert reader.stop(timeout=5)
    assert reader.progress.finished
    assert reader.progress.done < reader.progress.total


def test_a_hanging_filesystem_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = ReadAhead([pipe], memory=lambda: MUCH)
    reader.start()
    assert not reader.stop(timeout=0.05)
    with pipe.open("wb"):
        finished(reader)


def test_stop_before_start(tmp_path: Path) -> None:
    assert ReadAhead([tmp_path]).stop()


def test_the_thread_gives_way_and_the_process_does_not(tmp_path: Path) -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    seen: list[int] = []

    def memory() -> int:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return MUCH

    reader = ReadAhead([sparse(tmp_path / "one", 1)], memory=memory)
    reader.start()
    finished(reader)
    assert seen == [max(before, 10)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before

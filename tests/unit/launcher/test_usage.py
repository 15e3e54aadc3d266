"""What the engine's processes use and have loaded, from trees of files like /proc and from real processes."""

import mmap
import os
from pathlib import Path

import pytest

from vllm_multinode.launcher.messages import Loading
from vllm_multinode.launcher.usage import LoadingProgress, processes


class Proc:
    """A /proc of processes that hold files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, pid: int, *, mapped: tuple[Path, ...] = (), opened: tuple[Path, ...] = ()) -> None:
        folder = self.root / str(pid)
        (folder / "fd").mkdir(parents=True, exist_ok=True)
        for entry in (folder / "fd").iterdir():
            entry.unlink()
        lines = [f"7f00-7f01 r--p 00000000 08:01 {number}    {path}" for number, path in enumerate(mapped)]
        (folder / "maps").write_text("\n".join(["00-01 rw-p 0 00:00 0", "02-03 r-xp 0 0:0 0 [vdso]", *lines]))
        for number, path in enumerate(opened):
            (folder / "fd" / str(number)).symlink_to(path)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path / "proc")


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    return [tmp_path / f"model-{number:05}-of-00004.safetensors" for number in range(1, 5)]


def test_progress_follows_the_file_that_is_held(proc: Proc, shards: list[Path]) -> None:
    progress = LoadingProgress(shards, proc.root)
    proc.has(7)
    assert progress.look([7]) is None
    for number, shard in enumerate(shards):
        proc.has(7, mapped=(shard,))
        assert progress.look([7]) == Loading(done=number, total=4)
    proc.has(7)
    assert progress.look([7]) == Loading(done=3, total=4), "it may be between two files"
    assert progress.look([7]) == Loading(done=4, total=4)


def test_the_slowest_process_counts_and_one_that_is_gone_does_not(proc: Proc, shards: list[Path]) -> None:
    progress = LoadingProgress(shards, proc.root)
    proc.has(7, mapped=(shards[3],))
    proc.has(8, opened=(shards[1],))
    assert progress.look([7, 8, 999]) == Loading(done=1, total=4)
    assert progress.look([7]) == Loading(done=3, total=4)


def test_files_by_another_name_count(proc: Proc, shards: list[Path], tmp_path: Path) -> None:
    for shard in shards:
        shard.touch()
    other = tmp_path / "other"
    other.symlink_to(tmp_path)
    progress = LoadingProgress([other / shard.name for shard in shards], proc.root)
    proc.has(7, mapped=(shards[2],))
    assert progress.look([7]) == Loading(done=2, total=4)


def test_a_real_process_that_maps_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(4096))
    progress = LoadingProgress([path])
    assert progress.look([os.getpid()]) is None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        file.close()
        assert progress.look([os.getpid()]) == Loading(done=0, total=1)


def test_what_this_process_uses_and_one_that_is_gone() -> None:
    (found,) = list(processes({os.getpid(): "vllm", 2**22 + 1: "gone"}).values())
    sum(range(10**6))
    (later,) = processes({os.getpid(): "vllm"}).values()
    assert found.name == "vllm"
    assert later.user_s >= found.user_s > 0
    assert later.queued_s >= found.queued_s >= 0


def test_an_older_kernel_tells_of_no_queue(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = " ".join(["S", "1", *["0"] * 9, "250", "50", *["0"] * 30])
    (tmp_path / "7" / "stat").write_text(f"7 (a (strange) name) {fields}")
    (found,) = processes({7: "vllm"}, tmp_path).values()
    ticks = os.sysconf("SC_CLK_TCK")
    assert (found.user_s, found.system_s, found.queued_s) == (250 / ticks, 50 / ticks, 0)

import mmap
import os
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.shared_memory import (
    check_shared_memory,
    clean_shared_memory,
    list_shared_memory,
    mapped_files,
)


def test_large_enough(tmp_path: Path) -> None:
    check_shared_memory(1, tmp_path)
    check_shared_memory(0, tmp_path / "absent")


@pytest.mark.parametrize(
    ("minimum", "directory", "words"),
    [
        pytest.param(1 << 40, "", "MULTINODE_SHARED_MEMORY_MIN is 1099511627776 MiB", id="too-small"),
        pytest.param(1, "absent", "there is no shared memory", id="absent"),
    ],
)
def test_too_small_says_how_to_fix_it(tmp_path: Path, minimum: int, directory: str, words: str) -> None:
    with pytest.raises(MultinodeError) as raised:
        check_shared_memory(minimum, tmp_path / directory)
    assert raised.value.code is ExitCode.SHARED_MEMORY
    assert words in str(raised.value)
    assert "emptyDir of medium Memory" in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_what_a_dead_engine_left_goes_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "before").write_text("")
    before = list_shared_memory(tmp_path)
    for name in ("psm_1a2b", "sem.mp-xyz", "torch_77"):
        (tmp_path / name).write_text("")
    (tmp_path / "multinode-0").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "before")
    assert clean_shared_memory(before, tmp_path) == ["psm_1a2b", "sem.mp-xyz", "torch_77"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before", "link", "multinode-0"]
    assert clean_shared_memory(before, tmp_path) == []


def test_the_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("")
    assert clean_shared_memory((), tmp_path, uid=os.getuid() + 1) == []
    assert (tmp_path / "theirs").exists()


def test_what_a_living_process_has_mapped_stays(tmp_path: Path) -> None:
    (tmp_path / "used").write_bytes(bytes(4096))
    (tmp_path / "unused").write_bytes(bytes(4096))
    with (tmp_path / "used").open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert mapped_files(tmp_path) == {"used"}
        assert clean_shared_memory((), tmp_path) == ["unused"]
    assert clean_shared_memory((), tmp_path) == ["used"]


def test_what_a_process_of_another_container_has_mapped_stays(tmp_path: Path) -> None:
    (tmp_path / "used").write_bytes(bytes(4096))
    with (tmp_path / "used").open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        file.close()
        # Its own /proc does not show the process: here as if none did.
        assert clean_shared_memory((), tmp_path, in_use=lambda _: frozenset()) == []
    assert clean_shared_memory((), tmp_path) == ["used"]


def test_no_shared_memory_is_nothing_to_clean(tmp_path: Path) -> None:
    assert clean_shared_memory((), tmp_path / "absent") == []

"""Files that somebody else names are read within bounds."""

import os
from pathlib import Path

import pytest

from vllm_multinode.contract.bounded import read_bounded


def test_a_file_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert read_bounded(tmp_path / "f", 5) == b"12345"
    with pytest.raises(OSError, match="it holds more than 4 bytes"):
        read_bounded(tmp_path / "f", 4)


def test_nothing_is_a_file() -> None:
    assert read_bounded(Path(os.devnull), 1) == b""


def test_what_would_be_waited_for_or_never_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="it is not a file"):
            read_bounded(path, 100)
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path, 100)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "absent", 100)

"""A file is written whole, or what was there before stays."""

from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate.written import write_whole


def test_a_file_is_replaced_and_has_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(b"before")
    path.chmod(0o644)
    write_whole(path, b"after", mode=0o600)
    assert path.read_bytes() == b"after"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(b"before")

    def full(_: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MultinodeError) as caught:
        write_whole(path, b"after")
    assert caught.value.code == ExitCode.NOT_WRITABLE
    assert "No space left on device" in str(caught.value)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]

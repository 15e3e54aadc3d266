"""Rendered files in a folder: all or none, and over nobody else's."""

from pathlib import Path

import pytest

from vllm_multinode.authoring.folder import MARKER, write
from vllm_multinode.contract.errors import MultinodeError


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_new_folder_and_parents(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert write(folder, {"x.yaml": "x\n"}) == [folder / "x.yaml"]
    assert content(folder) == {"x.yaml": f"{MARKER}x\n"}


def test_second_run_replaces_and_removes_its_own(tmp_path: Path) -> None:
    write(tmp_path, {"x.yaml": "x\n", "old.yaml": "o\n"})
    (tmp_path / "mine.yaml").write_text("mine\n")
    write(tmp_path, {"x.yaml": "new\n"})
    assert content(tmp_path) == {"x.yaml": f"{MARKER}new\n", "mine.yaml": "mine\n"}


def test_somebody_elses_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("mine\n")
    with pytest.raises(MultinodeError, match=r"did not write: x\.yaml\. .*--force"):
        write(tmp_path, {"a.yaml": "a\n", "x.yaml": "x\n"})
    assert content(tmp_path) == {"x.yaml": "mine\n"}
    write(tmp_path, {"a.yaml": "a\n", "x.yaml": "x\n"}, force=True)
    assert content(tmp_path) == {"a.yaml": f"{MARKER}a\n", "x.yaml": f"{MARKER}x\n"}


@pytest.mark.parametrize("force", [False, True])
def test_folder_in_a_files_place_leaves_nothing_half_written(tmp_path: Path, *, force: bool) -> None:
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(MultinodeError):
        write(tmp_path, {"a.yaml": "a\n", "x.yaml": "x\n"}, force=force)
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(MultinodeError, match="cannot be written"):
        write(tmp_path / "out", {"a.yaml": "a\n"})
    with pytest.raises(MultinodeError, match="cannot be written"):
        write(tmp_path / "out" / "below", {"a.yaml": "a\n"})


def test_failure_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    texts = {"a.yaml": "a\n", "b.yaml": "\udc80"}
    with pytest.raises(MultinodeError):
        write(tmp_path / "new", texts)
    with pytest.raises(MultinodeError):
        write(tmp_path, texts)
    assert list(tmp_path.iterdir()) == []

import os
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.rundir import RunInfo, Runs


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "base")


def test_a_run_directory_is_its_owners_alone_and_goes_without_a_trace(runs: Runs) -> None:
    held = runs.create(None, "llm")
    assert held.directory.path.stat().st_mode & 0o777 == 0o700
    assert runs.base.stat().st_mode & 0o777 == 0o700
    assert [found.name for found in runs.living()] == ["llm"]
    held.remove()
    assert not runs.base.exists()


def test_a_default_name_is_numbered_and_a_given_one_is_refused_when_taken(runs: Runs) -> None:
    first, second = runs.create(None, "llm"), runs.create(None, "llm")
    assert (first.directory.name, second.directory.name) == ("llm", "llm-2")
    with pytest.raises(MultinodeError, match="'llm-2' already exists"):
        runs.create("llm-2", "llm")
    first.remove()
    second.remove()


def test_a_dead_runs_name_is_free_and_its_files_are_gone(runs: Runs) -> None:
    dead = runs.create("mine", "llm")
    (dead.directory.path / "left").touch()
    os.close(dead.lock)
    assert runs.living() == []
    again = runs.create("mine", "llm")
    assert not (again.directory.path / "left").exists()
    again.remove()


def test_clean_removes_the_dead_and_spares_the_living(runs: Runs) -> None:
    living, dead = runs.create("living", "llm"), runs.create("dead", "llm")
    os.close(dead.lock)
    assert runs.clean() == ["dead"]
    assert runs.clean() == []
    assert [found.name for found in runs.living()] == ["living"]
    os.close(living.lock)
    assert runs.clean() == ["living"]
    assert not runs.base.exists()


def test_clean_where_nothing_ever_ran(runs: Runs) -> None:
    assert runs.clean() == []
    assert not runs.base.exists()


def test_find_takes_the_only_run_or_the_named_one(runs: Runs) -> None:
    with pytest.raises(MultinodeError, match="there is no run"):
        runs.find(None)
    one = runs.create("one", "llm")
    assert runs.find(None).name == "one"
    two = runs.create("two", "llm")
    with pytest.raises(MultinodeError, match="several runs: one, two"):
        runs.find(None)
    assert runs.find("two").name == "two"
    with pytest.raises(MultinodeError, match="there is no run named 'three'"):
        runs.find("three")
    one.remove()
    two.remove()


@pytest.mark.parametrize("name", ["", "Big", "a/b", "..", "a" * 41, "-a"], ids=repr)
def test_names_that_cannot_be_directories_are_refused(runs: Runs, name: str) -> None:
    with pytest.raises(MultinodeError) as refused:
        runs.create(name or "-", "llm")
    assert refused.value.code == ExitCode.USAGE


def test_a_base_that_others_can_enter_is_refused(runs: Runs) -> None:
    runs.base.mkdir(mode=0o755)
    with pytest.raises(MultinodeError, match="only you can enter"):
        runs.create(None, "llm")


def test_a_base_that_is_a_link_is_refused(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    runs.base.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MultinodeError, match="not a directory that belongs to you"):
        runs.create(None, "llm")


def test_a_path_too_long_for_a_socket_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    runs = Runs(tmp_path / ("long" * 25))
    with pytest.raises(MultinodeError, match="too long for a socket"):
        runs.create(None, "llm")
    assert list(runs.base.iterdir()) == []


@pytest.mark.parametrize("usable", [True, False], ids=["runtime-dir", "no-runtime-dir"])
def test_the_base_is_in_the_users_runtime_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usable: bool
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path) if usable else str(tmp_path / "absent"))
    expected = tmp_path if usable else Path("/tmp")
    assert Runs.of_this_user().base == expected / f"vllm-multinode-{os.geteuid()}"


def test_info_is_read_back(runs: Runs) -> None:
    held = runs.create(None, "llm")
    before = held.directory.info
    info = RunInfo(run="llm", service="llm", runner=1, url="u", supervisor_url="s", logs="l", started=1.0)
    held.directory.write_info(info)
    assert (before, held.directory.info) == (None, info)
    held.remove()

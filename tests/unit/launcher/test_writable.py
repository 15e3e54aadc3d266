import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.writable import is_writable, writable_home

NAMED = {"USER": "vllm"}


def only_under(*places: Path) -> Callable[[Path], bool]:
    """Root may write everywhere, so what is read-only is decided here."""
    return lambda path: any(path.is_relative_to(place) for place in places)


def test_what_is_writable_stays(tmp_path: Path) -> None:
    environment = {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "VLLM_CACHE_ROOT": str(tmp_path / "cache" / "vllm"),
        **NAMED,
    }
    assert writable_home(environment, candidates=()) == {}
    assert (tmp_path / "cache" / "vllm").is_dir()


@pytest.mark.parametrize(
    "home",
    [
        pytest.param(None, id="unset"),
        pytest.param("", id="empty"),
        pytest.param("/", id="root-of-the-image"),
        pytest.param("/home/vllm", id="read-only"),
    ],
)
def test_home_moves(tmp_path: Path, home: str | None, caplog: pytest.LogCaptureFixture) -> None:
    environment = {**NAMED, "TMPDIR": str(tmp_path), **({} if home is None else {"HOME": home})}
    changes = writable_home(environment, candidates=(tmp_path,), writable=only_under(tmp_path))
    assert changes == {"HOME": str(tmp_path / f"multinode-{os.getuid()}" / "home")}
    assert Path(changes["HOME"]).is_dir()
    assert stat.S_IMODE(Path(changes["HOME"]).parent.stat().st_mode) == 0o700
    assert f"HOME cannot be written at {home or 'unset'}; it is {changes['HOME']}" in caplog.text
    assert writable_home({**environment, **changes}, candidates=(), writable=only_under(tmp_path)) == {}


def test_home_moves_out_of_the_root_directory_even_where_root_may_write(tmp_path: Path) -> None:
    environment = {**NAMED, "HOME": "/", "TMPDIR": str(tmp_path)}
    assert set(writable_home(environment, candidates=(tmp_path,), writable=lambda _: True)) == {"HOME"}


def test_only_what_cannot_be_written_moves(tmp_path: Path) -> None:
    environment = {
        **NAMED,
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "TRITON_CACHE_DIR": "/opt/triton",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    changes = writable_home(environment, candidates=(tmp_path,), writable=only_under(tmp_path))
    assert set(changes) == {"TRITON_CACHE_DIR"}
    assert Path(changes["TRITON_CACHE_DIR"]).is_dir()


def test_scratch_comes_first_and_the_best_of_the_others_next(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("scratch", "first", "second")]
    for place in places:
        place.mkdir()
    environment = {**NAMED, "TMPDIR": str(tmp_path)}
    for number in range(3):
        writable = only_under(*places[number:])
        changes = writable_home(environment, places[0], candidates=tuple(places[1:]), writable=writable)
        assert Path(changes["HOME"]).is_relative_to(places[number])


def test_tmpdir_moves_with_a_read_only_root(tmp_path: Path) -> None:
    changes = writable_home(
        {**NAMED, "HOME": str(tmp_path)}, candidates=(tmp_path,), writable=only_under(tmp_path)
    )
    assert set(changes) == {"TMPDIR"}


def test_no_place_is_refused(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    environment = {**NAMED, "HOME": str(blocked / "home"), "TMPDIR": str(tmp_path)}
    with pytest.raises(MultinodeError) as raised:
        writable_home(environment, blocked, candidates=(blocked / "deeper",))
    assert raised.value.code is ExitCode.NOT_WRITABLE
    assert f"HOME ({blocked / 'home'})" in str(raised.value)
    assert "MULTINODE_SCRATCH" in str(raised.value)


def test_a_read_only_hf_home_with_models_is_kept(tmp_path: Path) -> None:
    hf_home = tmp_path / "models"
    (hf_home / "hub").mkdir(parents=True)
    writes = tmp_path / "writes"
    environment = {**NAMED, "HOME": str(writes), "TMPDIR": str(writes), "HF_HOME": str(hf_home)}
    changes = writable_home(environment, candidates=(writes,), writable=only_under_made(writes))
    assert set(changes) == {"HF_MODULES_CACHE"}
    (hf_home / "hub").rmdir()
    assert set(writable_home(environment, candidates=(writes,), writable=only_under_made(writes))) == {
        "HF_HOME"
    }


def only_under_made(place: Path) -> Callable[[Path], bool]:
    place.mkdir(exist_ok=True)
    return only_under(place)


def test_a_place_that_somebody_laid_out_for_us_is_not_used(tmp_path: Path) -> None:
    trap, good = tmp_path / "trap", tmp_path / "good"
    trap.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (trap / f"multinode-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    changes = writable_home({**NAMED, "TMPDIR": str(tmp_path)}, candidates=(trap, good))
    assert Path(changes["HOME"]).is_relative_to(good)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        pytest.param({}, {"USER": "uid3999999999", "LOGNAME": "uid3999999999"}, id="no-name-at-all"),
        pytest.param({"USER": "vllm"}, {}, id="user"),
        pytest.param({"LOGNAME": "vllm"}, {}, id="logname"),
    ],
)
def test_a_uid_without_passwd_entry_gets_a_name(
    tmp_path: Path, environment: dict[str, str], named: dict[str, str]
) -> None:
    environment = {**environment, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    assert writable_home(environment, uid=3999999999) == named


def test_a_known_uid_needs_no_name(tmp_path: Path) -> None:
    assert writable_home({"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}, uid=0) == {}


def test_writable_is_tried(tmp_path: Path) -> None:
    assert is_writable(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []
    (tmp_path / "file").write_text("")
    assert not is_writable(tmp_path / "file")
    assert not is_writable(tmp_path / "file" / "below")
    assert not is_writable(Path("/proc/self"))


@pytest.mark.skipif(os.getuid() == 0, reason="permission bits say nothing to root")
def test_permission_bits(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert not is_writable(tmp_path)
    finally:
        tmp_path.chmod(0o700)

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from vllm_multinode.launcher.leftovers import clean_leftovers, list_leftovers, temporary_folders


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Entered, because a socket's path may have a hundred characters only."""
    monkeypatch.chdir(tmp_path)
    return Path()


@pytest.fixture
def listen() -> Iterator["Listen"]:
    with ExitStack() as stack:
        yield Listen(stack)


class Listen:
    """Makes sockets, living or dead."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, path: Path, *, dead: bool = False) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        opened.bind(str(path))
        opened.listen()
        if dead:
            opened.close()
        return path


def test_new_sockets_without_a_listener_are_removed(folder: Path, listen: Listen) -> None:
    listen(folder / "before", dead=True)
    before = list_leftovers([folder])
    living, dead = listen(folder / "living"), listen(folder / "dead", dead=True)
    (folder / "file").write_text("")
    assert clean_leftovers(before, [folder]) == [dead]
    assert sorted(folder.iterdir()) == [folder / "before", folder / "file", living]
    assert clean_leftovers(before, [folder]) == []


def test_sessions_of_ray_go_with_the_link_to_the_last(folder: Path, listen: Listen) -> None:
    listen(folder / "ray/session_1/sockets/raylet", dead=True)
    before = list_leftovers([folder])
    listen(folder / "ray/session_2/sockets/raylet", dead=True)
    (folder / "ray/session_2/logs").mkdir()
    (folder / "ray/session_latest").symlink_to("session_2")
    clean_leftovers(before, [folder])
    assert [path.name for path in (folder / "ray").iterdir()] == ["session_1"]


def test_a_session_that_lives_stays(folder: Path, listen: Listen) -> None:
    listen(folder / "ray/session_1/sockets/plasma_store")
    (folder / "ray/session_latest").symlink_to("session_1")
    assert clean_leftovers((), [folder]) == []


def test_a_folder_that_is_not_there_holds_nothing(folder: Path) -> None:
    assert clean_leftovers((), [folder / "absent"]) == []


@pytest.mark.parametrize(
    ("environment", "folders"),
    [
        pytest.param({}, ["/tmp"], id="usual"),
        pytest.param({"TMPDIR": "/scratch"}, ["/scratch"], id="moved"),
        pytest.param({"RAY_TMPDIR": "/ray"}, ["/tmp", "/ray"], id="ray-elsewhere"),
        pytest.param({"TMPDIR": "/scratch", "RAY_TMPDIR": "/scratch"}, ["/scratch"], id="the-same"),
    ],
)
def test_temporary_files_are_where_their_makers_put_them(
    environment: dict[str, str], folders: list[str]
) -> None:
    assert temporary_folders(environment) == tuple(map(Path, folders))

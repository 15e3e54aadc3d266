import contextlib
import os
import threading
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s import pipes
from vllm_multinode.k8s.files import read


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    return path


def test_a_pipe_that_nobody_writes_to(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "_NO_WRITER", 0.1)
    with pytest.raises(MultinodeError, match="nobody writes to it") as caught:
        read([str(pipe)])
    assert caught.value.code is ExitCode.MANIFEST


def test_a_writer_that_writes_nothing(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "_NO_BYTE", 0.1)
    writer = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(MultinodeError, match="nobody writes to it"):
            read([str(pipe)])
    finally:
        os.close(writer)


def test_a_writer_that_never_ends(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "_LONGEST", 0.5)
    over = threading.Event()

    def drip() -> None:
        with pipe.open("w") as writer, contextlib.suppress(BrokenPipeError):
            while not over.wait(0.05):
                writer.write("# more\n")
                writer.flush()

    writing = threading.Thread(target=drip)
    writing.start()
    try:
        with pytest.raises(MultinodeError, match="that did not end within"):
            read([str(pipe)])
    finally:
        over.set()
        writing.join()


def test_a_pipe_as_a_shell_makes_one(pipe: Path) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    writing = threading.Thread(target=pipe.write_text, args=(manifest,))
    writing.start()
    (document,) = read([str(pipe)])
    writing.join()
    assert document.name == "a"


def test_a_socket_is_no_file(tmp_path: Path) -> None:
    import socket

    path = tmp_path / "s.yaml"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        with pytest.raises(MultinodeError, match="cannot be read"):
            read([str(path)])

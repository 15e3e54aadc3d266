"""`multinode fetch` as a Job runs it: a process with a log, an exit code and a SIGTERM."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sources import hub
from sources.models import SHARDS, model, same
from sources.servers import serve
from vllm_multinode.checkpoint.marker import read_marker
from vllm_multinode.cli.fetch import main
from vllm_multinode.contract.exit_codes import ExitCode


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    """A process of its own need not take back what it does to logging and signals; this one must."""
    package, term = logging.getLogger("vllm_multinode"), signal.getsignal(signal.SIGTERM)
    handlers, level = package.handlers[:], package.level
    yield
    package.handlers[:] = handlers
    package.setLevel(level)
    signal.signal(signal.SIGTERM, term)


@contextmanager
def command(*arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    given = {"PATH": os.environ["PATH"], "POD_NAME": "fetch-1", **environment}
    process = subprocess.Popen(
        [Path(sys.executable).with_name("multinode"), "fetch", *arguments],
        env=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_from_a_hub_to_a_line_that_says_that_it_is_whole(tmp_path: Path) -> None:
    files = model()
    with serve(hub.hub(files, gated=True)) as server:
        given = {"HF_ENDPOINT": server.url, "HF_TOKEN": hub.TOKEN}
        with command("hf://org/name", str(tmp_path / "model"), **given) as process:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0
    assert out.startswith(f"{tmp_path}/model is whole: hf://org/name at {hub.COMMIT[:12]}, 5 files, 0.01 GiB")
    assert f"INFO hf://org/name at {hub.COMMIT[:12]}: 5 files, 0.01 GiB, to {tmp_path}/model" in err
    assert hub.TOKEN not in out + err


def test_sigterm_leaves_what_came_and_the_next_run_goes_on(tmp_path: Path) -> None:
    files = model()
    directory = tmp_path / "model"
    server = hub.hub(files)
    # The second shard stops coming after a megabyte, and is not given up before a minute.
    path = f"/{hub.REPOSITORY}/resolve/{hub.COMMIT}/{SHARDS[1]}"
    server.cut[path] = [1_100_000] + [0] * 50
    with serve(server):
        with command("hf://org/name", str(directory), HF_ENDPOINT=server.url) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "again in" in line and server.cut[path] and len(server.cut[path]) < 50:
                    break
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
            assert process.returncode == ExitCode.INTERRUPTED
        assert "stopped; run it again" in err
        assert out == ""
        marker = read_marker(directory)
        assert marker is not None
        assert (marker.state, marker.reason) == ("failed", "it was stopped.")
        server.cut.clear()
        server.asked.clear()
        with command("hf://org/name", str(directory), HF_ENDPOINT=server.url) as process:
            _, err = process.communicate(timeout=60)
            assert process.returncode == 0
        assert "are here already" in err
        assert server.reads(SHARDS[0]) == []
        assert server.reads(SHARDS[1])[0].startswith("bytes=1")
    found = {one.name: one.read_bytes() for one in directory.iterdir() if not one.name.startswith(".")}
    assert same(files, found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param((), "required: SOURCE, DIRECTORY", id="nothing"),
        pytest.param(("hf://a/b", "d", "--parallel", "0"), "a whole number from 1 to 3600", id="parallel"),
        pytest.param(("hf://a/b", "d", "--include"), "expected one argument", id="no-pattern"),
        pytest.param(("model", "d"), "names no source", id="no-source"),
        pytest.param(("hf://a/b", ""), "DIRECTORY: it is empty", id="no-directory"),
        pytest.param(("hf://a/b", "d", "--tokn", "x"), "unrecognized arguments: --tokn x", id="unknown"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main(arguments) is ExitCode.USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("(exit code 2)\n")

"""Nothing of a run outlives it, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.local.groups import STAND_IN, eventually, processes_with
from vllm_multinode.local.run.client import RunClient
from vllm_multinode.local.rundir import RunDirectory, Runs

pytestmark = pytest.mark.netns

# `multinode local run`, but for the program in the pods and the engine that it would look for.
RUN = """
import sys
from vllm_multinode.cli.main import main
from vllm_multinode.local.run import isvc, serve
isvc.program = lambda engine=None: {stand_in!r}
serve._NEEDED = ("pyroute2",)
sys.argv = ["multinode", "local", "run", *{arguments!r}]
main()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path


@pytest.fixture
def runs(home: Path) -> Runs:
    return Runs(home / f"vllm-multinode-{os.geteuid()}")


def start(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    given = [
        "--model",
        str(home / "model"),
        "--pp",
        "2",
        "--port",
        "0",
        "--env",
        f"MARKER={home}",
        *arguments,
    ]
    return subprocess.Popen(
        [sys.executable, "-c", RUN.format(stand_in=str(STAND_IN), arguments=given)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(home), "XDG_CACHE_HOME": str(home / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def running(home: Path, runs: Runs) -> Iterator["subprocess.Popen[str]"]:
    process = start(home)
    try:
        eventually(lambda: runs.living() or process.poll() is not None)
        if process.poll() == 60:
            pytest.skip(process.communicate()[0])
        yield process
    finally:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
        runs.clean()


def serving(runs: Runs) -> RunDirectory:
    directory = runs.find(None)
    RunClient(directory.control).wait_for("serving", 10)
    return directory


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_ends_it_in_order(
    home: Path, runs: Runs, running: "subprocess.Popen[str]", number: signal.Signals
) -> None:
    serving(runs)
    assert processes_with(str(home))
    running.send_signal(number)
    output, _ = running.communicate(timeout=20)
    assert running.returncode == 0
    assert "Serving at http://127.0.0.1:" in output
    assert "/v1/completions" in output
    assert processes_with(str(home)) == []
    assert not runs.base.exists()


def test_stop_ends_it_in_order(home: Path, runs: Runs, running: "subprocess.Popen[str]") -> None:
    directory = serving(runs)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(home)}
    command = [sys.executable, "-c", "from vllm_multinode.cli.main import main; main()", "local", "stop"]
    subprocess.run(command, env=environment, check=True, timeout=30)
    assert running.wait(10) == 0
    assert not directory.path.exists()
    assert processes_with(str(home)) == []


def test_the_runners_violent_death_ends_everything_else(
    home: Path, runs: Runs, running: "subprocess.Popen[str]"
) -> None:
    directory = serving(runs)
    # The runner, the process that left the namespaces, the world's first, and two in each of two pods.
    assert len(processes_with(str(home))) == 7
    running.kill()
    running.wait(10)
    eventually(lambda: processes_with(str(home)) == [], 2)
    assert str(home) not in Path("/proc/self/mountinfo").read_text()
    assert directory.path.exists()
    assert runs.clean() == ["llm"]
    assert runs.clean() == []
    assert not runs.base.exists()


def test_the_worlds_violent_death_ends_the_runner(
    home: Path, runs: Runs, running: "subprocess.Popen[str]"
) -> None:
    directory = serving(runs)
    world = [
        pid
        for pid in processes_with(str(directory.path))
        if b"vllm_multinode.local.world.enter" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(max(world), signal.SIGKILL)
    output, _ = running.communicate(timeout=20)
    assert running.returncode == 62
    assert "process ended unexpectedly" in output
    assert "Traceback" not in output
    assert processes_with(str(home)) == []


def test_a_refusal_ends_it_with_the_nodes_own_exit_code(home: Path, runs: Runs) -> None:
    process = start(home, "--env", "STAND_IN_EXIT=22")
    output, _ = process.communicate(timeout=30)
    if process.returncode == 60:
        pytest.skip(output)
    assert process.returncode == 22
    assert output.splitlines()[-1].endswith("the stand-in was told to end.")
    assert processes_with(str(home)) == []
    assert not runs.base.exists()


def test_detached_it_goes_on_and_ends_as_asked(home: Path, runs: Runs) -> None:
    process = start(home, "--detach")
    output, _ = process.communicate(timeout=30)
    if process.returncode == 60:
        pytest.skip(output)
    assert (process.returncode, output) == (0, "llm\n")
    directory = serving(runs)
    info = directory.info
    assert info is not None
    os.kill(info.runner, signal.SIGTERM)
    assert runs.wait_until_gone(directory, 20)
    eventually(lambda: processes_with(str(home)) == [])

"""Where the output goes must not matter: a reader that leaves, a full disk, another encoding."""

import os
import subprocess
import sys

import pytest

_PLAN = ("plan", "llama-3.1-405b-instruct", "--gpu", "H100-SXM", "--explain")
_MAIN = "from vllm_multinode.cli.main import main; main()"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", _MAIN, *arguments]


def test_a_reader_that_leaves() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command(*_PLAN), stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(_PLAN, id="plan"),
        pytest.param(("--help",), id="help"),
        pytest.param(("head", "--help"), id="help-of-the-supervisor"),
        pytest.param(("fetch", "--help"), id="help-of-fetch"),
    ],
)
def test_a_full_disk(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            command(*words), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 31
    assert done.stderr == "multinode: standard output cannot be written: No space left on device.\n"


def test_an_output_that_is_not_utf_8() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command("plan", "späße", "--gpu", "L4"),
        capture_output=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert done.returncode == 2
    assert b"sp\\xe4\\xdfe" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["a" * 5000, "/tmp/" + "a" * 5000, "a" * 100_000], ids=len)
def test_a_name_that_no_file_can_have(name: str) -> None:
    done = subprocess.run(
        command("plan", name, "--gpu", "L4"), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (2, 20)
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 5000


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_leaves_notes_out_and_results_in(place: str) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, check=True)

    told = run("models", "gpt-oss")
    words = ("-q", "models", "gpt-oss") if place == "before" else ("models", "gpt-oss", "--quiet")
    silent = run(*words)
    assert told.stderr != ""
    assert (silent.stderr, silent.stdout) == ("", told.stdout)

"""The ladder with a `vllm` that plays the benchmark: its bounds, its ends, and what is kept."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate.bench.ladder import Bounds, Ladder
from vllm_multinode.operate.bench.result import Load
from vllm_multinode.operate.bench.samples import EngineSample, Sample
from vllm_multinode.operate.bench.target import Target
from vllm_multinode.operate.bench.tool import Tool, find_vllm

MAIN = """
import json, os, pathlib, sys, time

def main():
    if os.environ.get("STAND_IN") == "ends":
        print("a word of its own", flush=True)
        os._exit(3)
    argv = sys.argv[3:]
    told = dict(zip(argv, argv[1:]))
    if os.environ.get("STAND_IN") == "fails":
        raise ValueError("no such dataset")
    if os.environ.get("STAND_IN") == "refuses":
        sys.exit(2)
    count, concurrency = int(told["--num-prompts"]), int(told["--max-concurrency"])
    if os.environ.get("STAND_IN_SLOW") == str(concurrency):
        pathlib.Path(os.environ["STAND_IN_MARK"]).touch()
        time.sleep(600)
    wrong = os.environ.get("STAND_IN") == "errors"
    pathlib.Path(told["--result-dir"], told["--result-filename"]).write_text(json.dumps({
        "duration": 1.0, "completed": 0 if wrong else count, "failed": count if wrong else 0,
        "output_throughput": 10.0 * concurrency, "request_throughput": 7.0 * concurrency,
        "ttfts": [0.1] * count, "itls": [[0.01] * 3] * count,
        "errors": ["refused" if wrong else ""] * count, "argv": sys.argv,
        "key": os.environ.get("OPENAI_API_KEY"),
    }))
"""
Climb = Callable[..., Ladder]


@pytest.fixture
def climber(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Climb]:
    package = tmp_path / "fake" / "vllm" / "entrypoints" / "cli"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "main.py").write_text(MAIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    folder = tmp_path / "out"
    folder.mkdir()
    tools = []

    def made(*, seconds: float = 60, requests: int = 1000, rung_seconds: float = 1, key: str = "") -> Ladder:
        tool = Tool(Path(sys.executable), folder, key)
        tools.append(tool)
        tool.wait_until_loaded(60)
        target = Target(title="run", url="http://x", look=looked, key=key)
        load = Load(input_tokens=8, output_tokens=4)
        return Ladder(target, tool, "llm", "model", load, folder, Bounds(seconds, requests, rung_seconds))

    yield made
    for tool in tools:
        tool.close()


def looked() -> Sample:
    return Sample(at=time.time(), engines=(EngineSample(name="head", running=1, counts={}),))


def test_every_rung_is_measured_and_its_raw_file_kept(climber: Climb) -> None:
    ladder = climber(key="a-secret")
    found = ladder.climb([1, 2, 4])
    assert [rung.concurrency for rung in found.rungs] == [1, 2, 4]
    # The first one knows no pace; the others take what the one before would have done in the time of a rung.
    assert [rung.requests for rung in found.rungs] == [4, 8, 16]
    assert found.ended == ""
    assert [one.id for one in found.verdicts] == ["unclear"], "too short to say anything"
    assert set(found.samples) == {"1", "2", "4"}
    raw = json.loads((ladder.folder / found.rungs[1].raw).read_text())
    assert raw["key"] == "a-secret"
    assert "a-secret" not in json.dumps(raw["argv"])
    assert "--save-detailed" in raw["argv"]


def test_a_fast_service_gets_as_many_requests_as_the_time_takes(climber: Climb) -> None:
    found = climber(rung_seconds=10).climb([1, 2])
    assert [rung.requests for rung in found.rungs] == [4, 70]


def test_the_bound_of_requests_ends_it(climber: Climb) -> None:
    found = climber(requests=9).climb([1, 2, 4, 8])
    assert [rung.requests for rung in found.rungs] == [4, 5]
    assert found.ended == "9 requests were sent"


def test_the_bound_of_time_keeps_the_rungs_before(
    climber: Climb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STAND_IN_SLOW", "2")
    monkeypatch.setenv("STAND_IN_MARK", str(tmp_path / "mark"))
    found = climber(seconds=3).climb([1, 2, 4])
    assert [rung.concurrency for rung in found.rungs] == [1]
    assert found.ended == "3 s were over"


def test_ctrl_c_keeps_the_rungs_before(
    climber: Climb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setenv("STAND_IN_SLOW", "2")
    monkeypatch.setenv("STAND_IN_MARK", str(mark))

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not mark.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    ladder = climber()
    threading.Thread(target=interrupt, daemon=True).start()
    found = ladder.climb([1, 2, 4])
    assert [rung.concurrency for rung in found.rungs] == [1]
    assert found.ended == "interrupted"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param("fails", "ValueError: no such dataset", id="exception"),
        pytest.param("refuses", "exit status 2", id="status"),
        pytest.param("ends", "a word of its own", id="process-ended"),
        pytest.param("errors", "all 4 requests failed at concurrency 1: refused", id="every-request-failed"),
    ],
)
def test_a_first_rung_that_comes_to_nothing_is_one_error(
    climber: Climb, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    monkeypatch.setenv("STAND_IN", kind)
    with pytest.raises(MultinodeError) as refused:
        climber().climb([1, 2])
    assert words in str(refused.value)


def test_counters_that_cannot_be_had_cost_the_verdict_alone(climber: Climb) -> None:
    ladder = climber()

    def silent() -> Sample:
        raise MultinodeError(ExitCode.NOT_SERVING, "silent")

    ladder.target = Target(title="run", url="http://x", look=silent)
    found = ladder.climb([1])
    assert len(found.rungs) == 1
    (verdict,) = found.verdicts
    assert "no engine's counters were read" in verdict.sentence


def test_an_interpreter_without_vllm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # This environment may have it: a module that cannot be imported comes first.
    (tmp_path / "vllm.py").write_text("raise ImportError('no engine here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Tool(Path(sys.executable), tmp_path) as tool, pytest.raises(MultinodeError) as refused:
        tool.wait_until_loaded(60)
    assert refused.value.code is ExitCode.ENGINE_MISSING
    assert "no engine here" in str(refused.value)


def script(path: Path, first: str) -> str:
    path.write_text(f"{first}\n")
    path.chmod(0o755)
    return str(path)


def test_the_python_of_a_vllm_program_is_found(tmp_path: Path) -> None:
    assert find_vllm(script(tmp_path / "vllm", "#!/opt/venv/bin/python3")) == Path("/opt/venv/bin/python3")


@pytest.mark.parametrize("given", ["nowhere", "shell"])
def test_what_is_no_vllm_is_refused(tmp_path: Path, given: str) -> None:
    path = script(tmp_path / "vllm", "#!/bin/sh") if given == "shell" else str(tmp_path / "absent")
    with pytest.raises(MultinodeError) as refused:
        find_vllm(path)
    assert refused.value.code is ExitCode.ENGINE_MISSING
    assert path in str(refused.value)


def test_without_any_vllm_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(MultinodeError) as refused:
        find_vllm("")
    assert "multinode local install" in str(refused.value)

"""Runs of this machine through the same commands: what the runner says of its nodes stands for pods."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unit.cluster import exposition
from unit.cluster.stub_api import serving
from unit.operate.cases import told
from vllm_multinode.cli.app import run as command_line
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.rundir import RunInfo, Runs
from vllm_multinode.local.world.protocol import NodeStatus, RunStatus
from vllm_multinode.operate import local_source
from vllm_multinode.operate.doctor import Diagnosis, diagnosis_of
from vllm_multinode.operate.local_source import LocalSource
from vllm_multinode.operate.numbers import OF_STATUS
from vllm_multinode.operate.status import ServiceStatus, status_of

HEAD, WORKER = "llm-predictor-x-0", "llm-predictor-worker-x-1"


class Run:
    """A run whose nodes say what the test wants."""

    def __init__(self, base: Path, url: str) -> None:
        self.held = Runs(base).create("llm", "llm")
        self.logs = self.held.directory.logs
        self.nodes = [self.node("head", HEAD, 0), self.node("worker-1", WORKER, 1)]
        info = RunInfo(
            run="llm", service="llm", runner=0, url=url, supervisor_url=url, logs=str(self.logs), started=0.0
        )
        self.held.directory.write_info(info)
        self.source = LocalSource(Runs(base))
        self.answers: dict[str, str] = {}
        self.asked: list[str] = []

    @staticmethod
    def node(name: str, pod: str, rank: int, **more: Any) -> NodeStatus:
        role: Any = "head" if rank == 0 else "worker"
        found = {"process": "running", "state": "serving", "rank": rank, **more}
        return NodeStatus(node=name, pod=pod, role=role, address="10.0.0.1", **found)

    def get(self, url: str) -> str:
        """As over HTTP."""
        self.asked.append(url)
        path = url.partition("://")[2].partition("/")[2]
        told = exposition.answer(f"/{path}", self.answers["metrics"]) if "metrics" in path else None
        return self.answers[path] if told is None else told

    def status(self) -> ServiceStatus:
        (seen,) = self.source.observe("llm")
        return status_of(seen)

    def doctor(self) -> Diagnosis:
        (seen,) = self.source.observe("llm", deep=True)
        return diagnosis_of(seen)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with serving() as api:
        found = Run(tmp_path / "runs", api.url)

        class Client:
            def __init__(self, _: Path) -> None:
                """Asks nobody."""

            def status(self) -> RunStatus:
                return RunStatus(run="llm", nodes=tuple(found.nodes))

        monkeypatch.setattr(local_source, "RunClient", Client)
        monkeypatch.setattr(local_source, "get", found.get)
        says(found, "serving")
        found.answers["metrics"] = 'vllm:num_requests_running{engine="0"} 1\n'
        yield found
        found.held.remove()


def says(run: Run, state: str, **more: Any) -> None:
    """What the head's supervisor answers."""
    body = told(state, **more)
    for member, name in zip(body["members"], (HEAD, WORKER), strict=False):
        member["name"] = name
    run.answers["status"] = json.dumps(body)


def test_a_run_that_serves(run: Run) -> None:
    found = run.status()
    assert (found.place, found.serving, found.state, found.nodes) == ("local", True, "serving", 2)
    assert [(one.rank, one.node, one.state) for one in found.ranks] == [
        (0, "head", "serving"),
        (1, "worker-1", "serving"),
    ]
    assert found.engines[0].running == 1
    assert "curl http://127.0.0.1" in found.entrance[0]
    assert run.doctor().verdict == "nothing wrong"


def test_an_engine_is_asked_for_what_is_shown_and_for_all_where_it_does_not_select(run: Run) -> None:
    run.answers["metrics"] += 'vllm:generation_tokens_total{engine="0"} 7\n'
    (selected,) = run.source.observe("llm", counters=OF_STATUS)
    (found,) = selected.engines.values()
    assert found is not None
    assert [one.name for one in found.samples] == ["vllm:num_requests_running"]
    (whole,) = run.source.observe("llm", counters=["vllm:of_no_version"])
    (found,) = whole.engines.values()
    assert found is not None
    assert len(found.samples) == 2
    paths = [url.rpartition("/")[2].partition("=")[0] for url in run.asked if "metrics" in url]
    assert paths == ["?name%5B%5D", "?name%5B%5D", "metrics"]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        pytest.param({"process": "frozen"}, "node-frozen", id="frozen"),
        pytest.param({"cut": True}, "node-cut", id="cut"),
        pytest.param({"process": "dead", "exit_code": 137}, "killed", id="killed"),
        pytest.param(
            {"process": "restarting", "exit_code": 20, "restarts": 3, "termination": "no model"},
            "exit-model-missing", id="refuses",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_node_is_named(run: Run, changes: dict[str, Any], cause: str) -> None:
    run.nodes[1] = run.node("worker-1", WORKER, 1, **changes)
    says(run, "recovering", members=1)
    found = run.doctor()
    assert found.verdict == "does not serve"
    assert cause in [one.cause for one in found.findings]
    assert "kubectl" not in found.command
    assert all("kubectl" not in one.command for one in found.findings)


def test_logs_by_time_and_of_pods_that_are_gone(run: Run) -> None:
    first = "2026-01-01T10:00:00Z a INFO state: starting\nINFO 01-01 [core.py] from the engine\n"
    (run.logs / f"{HEAD}.log").write_text(first)
    (run.logs / f"{WORKER}.log").write_text("2026-01-01T09:59:59Z b INFO state: starting\n")
    (run.logs / "llm-predictor-worker-gone.log").write_text("2026-01-01T09:00:00Z c ERROR lost\n")
    (seen,) = run.source.observe("llm")
    streams = run.source.streams(seen, 0.0, several=False)
    lines = streams.now(seen)
    assert [(line.node, line.writer) for line in lines] == [
        ("1", "supervisor"),
        ("0", "supervisor"),
        ("0", "engine"),
    ]
    assert streams.now(seen) == []
    with (run.logs / f"{HEAD}.log").open("a") as file:
        file.write("2026-01-01T10:00:05Z a INFO state: serving\nhalf a li")
    assert [line.text for line in streams.now(seen)] == ["a INFO state: serving"]
    assert [line.text for line in streams.earlier(seen)] == ["c ERROR lost"]


def test_local_status_and_local_logs_are_the_same_commands(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Runs, "of_this_user", classmethod(lambda _: Runs(tmp_path / "runs")))
    (run.logs / f"{HEAD}.log").write_text("2026-01-01T10:00:00Z a INFO state: starting\n")
    (run.logs / f"{WORKER}.log").write_text("2026-01-01T09:59:59Z b INFO state: starting\n")
    (run.logs / "gone.log").write_text("last words\n")
    run.nodes[1] = run.node("worker-1", WORKER, 1, process="dead", exit_code=1, termination="multinode: why")
    said = []
    for command in (["local", "status"], ["status", "--local"]):
        assert command_line([*command, "-o", "json"]) == ExitCode.OK
        said.append(json.loads(capsys.readouterr().out))
    assert said[0] == said[1]
    ((head, worker),) = [one["ranks"] for one in said[0]]
    assert (head["address"], worker["reason"]) == ("10.0.0.1", "multinode: why")
    assert said[0][0]["url"].startswith("http://127.0.0.1")
    for arguments, lines in (
        ([], 2), (["head"], 1), (["1"], 1), ([WORKER], 1), (["--tail", "1"], 1), (["gone", "--previous"], 1),
    ):  # fmt: skip
        assert command_line(["local", "logs", *arguments]) == ExitCode.OK
        assert len(capsys.readouterr().out.splitlines()) == lines, arguments
    assert command_line(["local", "logs", "../outside"]) == ExitCode.USAGE
    assert command_line(["local", "status", "--run", "nobody"]) == ExitCode.LOCAL_RUN

"""What `status`, `doctor` and `logs` say of a run of this machine, whose nodes have real supervisors."""

import io
import re
import shutil
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.conftest import Start
from engine.links import slow_link
from engine.services import LocalGroup, eventually, service
from engine.stand_ins import StandIns
from vllm_multinode.local.rundir import RunInfo, Runs
from vllm_multinode.operate.bundle import bundle
from vllm_multinode.operate.doctor import Diagnosis, diagnosis_of
from vllm_multinode.operate.local_source import LocalSource
from vllm_multinode.operate.logs import Line
from vllm_multinode.operate.status import ServiceStatus, status_of

pytestmark = pytest.mark.netns


class Operator:
    """Somebody who looks at a run."""

    def __init__(self, group: LocalGroup) -> None:
        directory = group.run.directory
        info = RunInfo(
            run=directory.name,
            service="llm",
            runner=0,
            url=group.apis["head"],
            supervisor_url=group.supervisors["head"],
            logs=str(directory.logs),
            started=time.time(),
        )
        directory.write_info(info)
        self.name = directory.name
        self.source = LocalSource(Runs(directory.path.parent))

    def status(self) -> ServiceStatus:
        (seen,) = self.source.observe(self.name)
        return status_of(seen)

    def doctor(self) -> Diagnosis:
        (seen,) = self.source.observe(self.name, deep=True)
        return diagnosis_of(seen)

    def logs(self) -> list[Line]:
        (seen,) = self.source.observe(self.name)
        return self.source.streams(seen, 0.0, several=False).now(seen)

    def causes(self) -> list[str]:
        return [one.cause for one in self.doctor().findings]


@pytest.fixture
def group(start: Start, stand_ins: StandIns, made_model: Path) -> LocalGroup:
    """Two nodes that serve."""
    group = start(stand_ins.pods(service(made_model)))
    group.wait_for("serving")
    eventually(lambda: all(node.state == "serving" for node in group.nodes))
    return group


def test_a_run_that_serves(group: LocalGroup) -> None:
    operator = Operator(group)
    found = operator.status()
    assert (found.serving, found.state, found.nodes) == (True, "serving", 2)
    assert [(one.rank, one.role, one.node) for one in found.ranks] == [
        (0, "head", "head"),
        (1, "worker", "worker-1"),
    ]
    assert operator.doctor().verdict == "nothing wrong", operator.doctor()
    lines = operator.logs()
    assert {(line.node, line.writer) for line in lines} >= {("0", "supervisor"), ("1", "supervisor")}
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_a_killed_node_is_the_cause_and_remembered(group: LocalGroup) -> None:
    operator = Operator(group)
    group.act("kill", "worker-1", stay_dead=True)
    group.wait_for("recovering")
    eventually(lambda: group.node("worker-1").process == "dead")
    assert operator.causes()[:2] == ["killed", "nodes-missing"]
    assert operator.status().incidents[-1].cause == "member"
    group.act("start", "worker-1")
    group.wait_for("serving")
    # The head's container is started again with the same volumes.
    group.act("kill", "head")
    eventually(lambda: group.node("head").restarts == 1 and group.node("head").state == "serving")
    # What the runner saw last may be older than the restart.
    eventually(lambda: operator.status().recoveries_by_cause.get("member", 0) >= 1)
    assert operator.status().incidents[0].cause == "member"


def test_a_hang_is_in_status_doctor_logs_and_report(
    start: Start, stand_ins: StandIns, made_model: Path, threads: ThreadPoolExecutor
) -> None:
    group = start(stand_ins.pods(service(made_model, env={"MULTINODE_HANG_TIMEOUT": "1"})))
    group.wait_until_serving(epoch=1)
    operator = Operator(group)
    stand_ins.tell("head", hold=True, stuck=True, start=1)
    threads.submit(group.ask)
    group.wait_until_serving(epoch=2)
    eventually(lambda: operator.status().serving, why=group.shown)
    found = operator.status()
    assert found.recoveries_by_cause["hung"] == 1
    assert found.incidents[-1].cause == "hung"
    assert "hung: 1 requests under way" in found.incidents[-1].reason
    assert "hung: 1 requests under way" in operator.doctor().model_dump_json(), operator.doctor()
    frame = re.compile(r"line \d+ in complete\b|\bcomplete \(")
    assert any(frame.search(line.text) for line in operator.logs())
    (seen,) = operator.source.observe(operator.name, deep=True)
    with tarfile.open(fileobj=io.BytesIO(bundle(operator.source, [seen], "1"))) as archive:
        files = {
            Path(one.name).name: extracted.read().decode()
            for one in archive.getmembers()
            if (extracted := archive.extractfile(one)) is not None
        }
    assert frame.search(files["logs.txt"])
    for name in ("status.txt", "doctor.txt", "page.html"):
        assert "hung" in files[name], name


def test_a_slow_link_is_told_though_the_group_serves(
    start: Start, stand_ins: StandIns, made_model: Path
) -> None:
    head, worker = stand_ins.pods(service(made_model))
    group = start([head], later=["worker-1"])
    with slow_link(group, "20mbit"):
        group.add(worker)
        group.wait_for("serving")
        eventually(lambda: all(node.state == "serving" for node in group.nodes))
        found = Operator(group).doctor()
    # The way back is slow as well: what it acknowledges has to come through the same link.
    slow = {one.subject for one in found.findings if one.cause == "slow-wire"}
    assert found.verdict == "serves badly"
    assert f"pod {group.node('head').pod} to pod {group.node('worker-1').pod}" in slow


@pytest.mark.parametrize(
    ("act", "undo", "cause"),
    [
        pytest.param("freeze", "thaw", "node-frozen", id="frozen"),
        pytest.param("cut", "join", "node-cut", id="cut"),
    ],
)
def test_a_node_that_cannot_be_reached(group: LocalGroup, act: str, undo: str, cause: str) -> None:
    operator = Operator(group)
    group.act(act, "worker-1")  # type: ignore[arg-type]
    eventually(lambda: cause in operator.causes())
    found = operator.doctor()
    assert "worker-1" in next(one for one in found.findings if one.cause == cause).subject
    group.act(undo, "worker-1")  # type: ignore[arg-type]
    group.wait_for("serving")


def _without_model(model: Path) -> None:
    for file in model.iterdir():
        file.unlink()


def _with_half_a_shard(model: Path) -> None:
    shard = min(model.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


REFUSALS = [
    pytest.param("exit-variable", {"MULTINODE_HEARTBEAT_TIMEOUT": "soon"}, None, id="variable"),
    pytest.param("exit-shared-memory", {"MULTINODE_SHARED_MEMORY_MIN": "99999999"}, None, id="shm"),
    pytest.param("exit-model-missing", {}, _without_model, id="no-model"),
    pytest.param("exit-model-config", {}, lambda model: (model / "config.json").write_text("{"), id="config"),
    pytest.param(
        "exit-shard-absent", {}, lambda model: min(model.glob("*.safetensors")).unlink(), id="no-shard"
    ),
    pytest.param("exit-shard-truncated", {}, _with_half_a_shard, id="half-a-shard"),
]


@pytest.mark.parametrize(("cause", "variables", "spoil"), REFUSALS)
def test_what_a_supervisor_refuses_is_the_cause(
    start: Start, stand_ins: StandIns, made_model: Path, tmp_path: Path, request: pytest.FixtureRequest,
    cause: str, variables: dict[str, str], spoil: Callable[[Path], object] | None,
) -> None:  # fmt: skip
    if cause != "exit-variable" and not request.config.getoption("--all-versions"):
        pytest.skip("the launcher's own tests refuse the same: with --all-versions")
    model = Path(shutil.copytree(made_model, tmp_path / "model"))
    if spoil is not None:
        spoil(model)
    pods = stand_ins.pods(service(model))
    operator = Operator(start([pod.model_copy(update={"env": pod.env | variables}) for pod in pods]))
    eventually(lambda: operator.causes()[:1] == [cause], why=lambda: str(operator.causes()))
    words = next(iter(variables), "")
    assert words in operator.doctor().sentence

"""`multinode record`, `top` and `report` against a stand-in API."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from unit.cluster.objects import Object, controller, event
from unit.cluster.stub_api import StubApi
from unit.operate.cases import BUSY, HEAD, WORKER, Case, both, serving, told
from unit.operate.test_doctor import put
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode

VERSIONS = {"vllm": "0.32.0", "ray": None, "python": "3.11", "multinode": "0.1.0", "torch": "2.13.0"}


def says(**more: Any) -> Object:
    found = told("serving", model_bytes=7_000, tensor_parallel=8, pipeline_parallel=2, executor="mp")
    member = {"versions": VERSIONS, "fingerprint": "abc", "model_dir": "/mnt/models", "gpus": 8, **more}
    return found | {"members": [{**one, **member} for one in found["members"]]}


@pytest.fixture
def answers() -> list[str]:
    """What the engine goes on with, request by request; the last one for all that follow."""
    return [" four five"]


@pytest.fixture
def service(api: StubApi, kubeconfig: object, answers: list[str]) -> StubApi:
    """A service that serves, with an engine behind it."""
    put(api, Case("", [serving(), *both()], says(), BUSY))
    sent = iter(range(100))

    def engine(path: str) -> Object:
        if path.endswith("models"):
            return {"data": [{"id": "llm"}]}
        text = answers[min(next(sent), len(answers) - 1)]
        return {"choices": [{"text": text}], "system_fingerprint": "vllm-0.32.0-tp8-pp2-x"}

    api.heads[f"{HEAD}:8080"] = engine
    return api


def test_a_record_and_the_same_again(
    service: StubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "llm.json"
    assert run(["record", "llm", "-o", str(file)]) == ExitCode.OK
    found = json.loads(file.read_text())
    assert found["exercise"]["output"] == " four five"
    assert found["exercise"]["system_fingerprint"] == "vllm-0.32.0-tp8-pp2-x"
    assert found["sizes"] == {"tensor_parallel": 8, "pipeline_parallel": 2, "nodes": 2, "executor": "mp"}
    assert found["model"] == {
        "storage_uri": "pvc://models/llm", "bytes": 7000, "fingerprint": "abc", "model_dir": "/mnt/models",
    }  # fmt: skip
    assert (found["versions"]["vllm"], found["versions"]["torch"]) == ("0.32.0", "2.13.0")
    assert found["missing"] == []
    capsys.readouterr()
    assert run(["record", "llm", "--check", str(file)]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("nothing differs from the record")


@pytest.mark.parametrize("answers", [[" four five", " six"]])
def test_what_differs_is_named(service: StubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "llm.json"
    assert run(["record", "llm", "-o", str(file)]) == ExitCode.OK
    service.heads[f"{HEAD}:8081"] = says(fingerprint="other")
    assert run(["record", "llm", "--check", str(file)]) == ExitCode.DIFFERS
    printed = capsys.readouterr().out
    assert "exercise.output: ' four five' was recorded, and ' six' is there now" in printed
    assert "model.fingerprint: 'abc' was recorded, and 'other' is there now" in printed
    assert "3 differences" in printed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("{", "is not a record: it is not JSON", id="no-json"),
        pytest.param("{}", "is not a record of this format", id="empty"),
        pytest.param('{"format": 2, "made": "", "service": ""}', "format", id="later-format"),
    ],
)
def test_a_file_that_is_no_record(
    service: StubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    assert run(["record", "llm", "--check", str(file)]) == ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_nothing_is_recorded_of_what_does_not_serve(
    api: StubApi, kubeconfig: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(api, Case("", both(ready=False), told("starting")))
    assert run(["record", "llm", "-o", str(tmp_path / "x.json")]) == ExitCode.NOT_SERVING
    assert "nothing to record" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json*"))


def test_top_counts_by_the_second(service: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    texts = iter(
        f'vllm:generation_tokens_total{{engine="0"}} {value}\nvllm:num_requests_running{{engine="0"}} 2\n'
        for value in (100, 900)
    )

    class Counting(dict[str, str]):
        def __getitem__(self, key: str) -> str:
            return next(texts)

    service.metrics = Counting({f"{HEAD}:8080": ""})
    assert run(["top", "llm", "--once", "--interval", "0.2", "-o", "json"]) == ExitCode.OK
    (row,) = json.loads(capsys.readouterr().out)
    (engine,) = row["engines"]
    assert 0 < engine["generation_tokens"] <= 800 / 0.2
    assert engine["running"] == 2


CANARY = "canary-0123456789"


def test_a_report_has_all_of_it_and_no_secret(service: StubApi, tmp_path: Path) -> None:
    head, worker = both()
    head["spec"]["containers"][0] |= {
        "env": [{"name": "HF_TOKEN", "value": CANARY}, {"name": "VLLM_API_KEY", "value": CANARY}],
        "args": ["--api-key", CANARY, "--seed", "7"],
    }
    applied = json.dumps({"env": {"password": CANARY}})
    head["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": applied}
    for body in (head, worker):
        service.put(body)
    service.put(event("BackOff", f"failed with token={CANARY}", head))
    service.logs |= {HEAD: f"2026-01-01T10:00:00Z serving with api_key='{CANARY}'\n", WORKER: "x\n"}
    file = tmp_path / "report.tar.gz"
    assert run(["report", "llm", "--out", str(file)]) == ExitCode.OK
    with tarfile.open(file) as archive:
        texts = {one.name: archive.extractfile(one).read().decode() for one in archive}  # type: ignore[union-attr]
    assert {name.rpartition("/")[2] for name in texts} >= {
        "status.txt", "status.json", "doctor.txt", "doctor.json", "pods.json", "events.json", "logs.txt",
        "previous.txt", "service.json", "versions.json", "page.html",
    }  # fmt: skip
    assert not [name for name, text in texts.items() if CANARY in text]
    assert "--seed" in texts["multinode-report/llm/pods.json"]
    page = texts["multinode-report/page.html"]
    assert "nothing wrong" in page
    assert "<script" not in page
    assert file.stat().st_mode & 0o077 == 0


def test_a_report_that_cannot_be_written(service: StubApi, tmp_path: Path) -> None:
    assert run(["report", "llm", "--out", str(tmp_path / "no" / "x.tar.gz")]) == ExitCode.NOT_WRITABLE


def test_what_it_runs_on_is_recorded(service: StubApi, tmp_path: Path) -> None:
    service.put(controller(available=0))
    file = tmp_path / "llm.json"
    assert run(["record", "llm", "-o", str(file)]) == ExitCode.OK
    assert json.loads(file.read_text())["platform"] == {"kserve": "0.19.0"}
    service.version_said = "v1.33.1"
    assert run(["record", "llm", "-o", str(file)]) == ExitCode.OK
    assert json.loads(file.read_text())["platform"] == {"kubernetes": "v1.33.1", "kserve": "0.19.0"}

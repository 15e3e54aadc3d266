"""`multinode doctor` names each cause, from objects as controllers and kubelets leave them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from unit.cluster.stub_api import StubApi, status
from unit.operate.cases import BUSY, CASES, ELSEWHERE, NOTED, SERVES, Case, both, serving
from unit.operate.groups import observation
from vllm_multinode.cli.app import run
from vllm_multinode.cluster.causes import CAUSES
from vllm_multinode.cluster.causes.listing import as_markdown
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate.cluster_source import MOST_REQUESTS, ClusterSource
from vllm_multinode.operate.doctor import Diagnosis, as_text, diagnosis_of

PAGE = Path(__file__).parents[3] / "docs" / "causes.md"


def put(api: StubApi, case: Case) -> None:
    """A service, and what the case changes of it."""
    from unit.cluster.objects import service, with_status

    api.put(with_status(service()))
    for body in case.bodies:
        api.put({**body, "metadata": {"namespace": "demo", **body["metadata"]}})
    if case.says is not None:
        api.heads["llm-predictor-0:8081"] = case.says
    if case.counts is not None:
        lines = [f'{name}{{engine="0",model_name="llm"}} {value}' for name, value in case.counts.items()]
        api.metrics["llm-predictor-0:8080"] = "\n".join(lines) + "\n"
    api.logs["llm-predictor-0"] = case.log


def examine(cluster: Cluster) -> Diagnosis:
    (seen,) = ClusterSource(cluster).observe("llm", deep=True)
    return diagnosis_of(seen)


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.cause}-{n}") for n, case in enumerate(CASES)])
def test_the_cause_is_named_first(api: StubApi, cluster: Cluster, case: Case) -> None:
    put(api, case)
    before = len(api.requests)
    found = examine(cluster)
    assert [one.cause for one in found.findings][:1] == [case.cause], found.findings
    assert case.words in found.sentence
    assert found.verdict != "nothing wrong"
    assert len(api.requests) - before <= MOST_REQUESTS
    text = as_text([found])
    assert f"docs/causes.md#{case.cause}" in text
    assert "{" not in found.command


@pytest.mark.parametrize("case", [pytest.param(case, id=case.cause) for case in NOTED])
def test_what_is_worth_knowing_is_a_note(api: StubApi, cluster: Cluster, case: Case) -> None:
    put(api, case)
    found = examine(cluster)
    assert found.verdict == "nothing wrong"
    assert [one.cause for one in found.findings] == [case.cause]
    assert f"({case.cause})" in as_text([found])


def test_every_cause_has_a_case() -> None:
    assert {case.cause for case in (*CASES, *NOTED)} | ELSEWHERE.keys() == CAUSES.keys()


def test_page_is_what_the_causes_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown(), "run scripts/generate causes"


def test_a_healthy_service(api: StubApi, kubeconfig: object, capsys: pytest.CaptureFixture[str]) -> None:
    put(api, Case("", [serving(), *both()], SERVES, BUSY))
    assert run(["doctor", "llm"]) == ExitCode.OK
    assert capsys.readouterr().out == "InferenceService demo/llm: nothing wrong.\n"


def test_a_service_that_only_needs_time(
    api: StubApi, kubeconfig: object, capsys: pytest.CaptureFixture[str]
) -> None:
    put(api, Case("", both(ready=False), {**SERVES, "state": "starting", "reason": "epoch 1"}))
    assert run(["doctor", "llm"]) == ExitCode.NOT_SERVING
    assert "does not serve yet: starting (epoch 1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "code"),
    [
        pytest.param("gpu-memory", ExitCode.NOT_SERVING, id="does-not-serve"),
        pytest.param("queue", ExitCode.SERVES_BADLY, id="serves-badly"),
    ],
)
def test_exit_codes(
    api: StubApi, kubeconfig: object, capsys: pytest.CaptureFixture[str], name: str, code: ExitCode
) -> None:
    put(api, next(case for case in CASES if case.cause == name))
    assert run(["doctor", "llm", "-o", "json"]) == code
    (found,) = json.loads(capsys.readouterr().out)
    assert found["findings"][0]["cause"] == name


def test_the_root_stands_before_what_follows_of_it(api: StubApi, cluster: Cluster) -> None:
    """A worker that cannot be placed is why the head waits."""
    from unit.cluster.objects import pod, running
    from unit.operate.cases import HEAD, WORKER, told

    message = "0/3 nodes: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    worker = pod(WORKER, role="worker", conditions=[condition])
    put(api, Case("", [running(HEAD, ready=False), worker], told("forming", "1 of 2", members=1)))
    assert [one.cause for one in examine(cluster).findings] == ["no-room", "nodes-missing"]


def test_a_login_that_may_only_list(api: StubApi, cluster: Cluster) -> None:
    put(api, next(case for case in CASES if case.cause == "gpu-memory"))
    for path in ("/proxy/", "/log"):
        api.refuse("GET", path, 403, status(403, "is forbidden", "Forbidden"))
    found = examine(cluster)
    assert found.verdict == "not yet"
    assert any("pods/proxy" in sentence for sentence in found.unseen)


@pytest.mark.parametrize(
    "body", ["[]", "null", '{"state": 1}', '{"state": "serving", "members": [1, null, "x"]}']
)
def test_somebody_else_answers_on_the_heads_port(api: StubApi, cluster: Cluster, body: str) -> None:
    put(api, Case("", [serving(), *both()], None, BUSY))
    api.heads["llm-predictor-0:8081"] = json.loads(body) or [0]
    assert examine(cluster).verdict in ("nothing wrong", "serves badly")


ODD = [
    {"state": "serving", "members": 3, "incidents": "many", "recoveries_by_cause": []},
    {
        "state": "recovering",
        "since": 1e300,
        "nodes": "two",
        "members": [{"rank": [], "name": None}],
        "reason": 7,
    },
    {"state": "forming", "nodes": 1e17, "members": {"a": 1}, "recoveries": True, "loading": {"done": 3}},
    {"state": "serving", "incidents": [{"at": -1e30, "cause": 3}, 4], "members": [{"versions": [1]}]},
    {"state": "x" * 5000, "reason": "\x1b[2Jgone", "recoveries_by_cause": {"a": "b", "c": 1e400}},
]


@pytest.mark.parametrize("said", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("command", ["status", "doctor", "top"])
def test_whatever_a_supervisor_says_is_shown_or_left_out(
    api: StubApi, kubeconfig: object, capsys: pytest.CaptureFixture[str], said: object, command: str
) -> None:
    put(api, Case("", [serving(), *both()], None, BUSY))
    api.heads["llm-predictor-0:8081"] = said
    more = ["--once", "--interval", "0.2"] if command == "top" else []
    assert run([command, "llm", *more]) in (ExitCode.OK, ExitCode.NOT_SERVING, ExitCode.SERVES_BADLY)
    assert "\x1b" not in capsys.readouterr().out


def test_an_engine_that_speaks_tls_is_asked_so(api: StubApi, cluster: Cluster) -> None:
    head, worker = both()
    head["spec"]["containers"][0]["args"] = [
        "head",
        "--ssl-certfile=/tls/tls.crt",
        "--ssl-keyfile",
        "/tls/tls.key",
    ]
    put(api, Case("", [serving(), head, worker], SERVES, None))
    api.metrics["https:llm-predictor-0:8080"] = "vllm:num_requests_running 3\n"
    found = examine(cluster)
    assert (found.verdict, found.unseen) == ("nothing wrong", ())
    api.metrics.clear()
    assert [one.cause for one in examine(cluster).findings] == ["engine-silent"]


def test_an_engine_that_wants_a_client_s_certificate_is_not_called_silent(
    api: StubApi, cluster: Cluster
) -> None:
    head, worker = both()
    head["spec"]["containers"][0]["args"] = ["head", "--ssl-certfile", "/tls.crt", "--ssl-cert-reqs", "2"]
    put(api, Case("", [serving(), head, worker], SERVES, None))
    found = examine(cluster)
    assert found.verdict == "nothing wrong"
    assert any("a client's certificate" in sentence for sentence in found.unseen)


def test_what_a_healthy_service_has_recovered_from_is_told_for_an_hour() -> None:
    seen = observation()
    found = diagnosis_of(seen)
    assert found.verdict == "nothing wrong"
    (told,) = found.evidence
    assert told.startswith("incident ")
    assert "the connection ended" in told
    assert "the connection ended" in " ".join(as_text([found]).split())
    assert diagnosis_of(replace(seen, now=seen.now + 7200)).evidence == ()

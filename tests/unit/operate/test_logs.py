"""`multinode logs`: one stream of all nodes, without secrets."""

import json
from datetime import datetime

import pytest

from unit.cluster.stub_api import StubApi, status
from unit.operate.cases import BUSY, HEAD, SERVES, WORKER, Case, both, serving
from unit.operate.test_doctor import put
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate.logs import Line, merged, read
from vllm_multinode.operate.masks import without_secrets

HEAD_LOG = """2026-01-01T10:00:00.000000001Z 2026-01-01T10:00:00Z llm-0 INFO state: starting (epoch 1)
2026-01-01T10:00:02.500000000Z INFO 01-01 10:00:02 [core.py:58] Initializing a V1 LLM engine
2026-01-01T10:00:09.000000000Z 2026-01-01T10:00:09Z llm-0 ERROR the engine of epoch 1 ended: vllm died
"""
WORKER_LOG = """2026-01-01T10:00:01.000000000Z 2026-01-01T10:00:01Z llm-1 INFO state: starting (epoch 1)
2026-01-01T10:00:08.000000000Z torch.OutOfMemoryError: CUDA out of memory
"""


@pytest.fixture
def service(api: StubApi, kubeconfig: object) -> StubApi:
    """Two nodes that have written something."""
    put(api, Case("", [serving(), *both()], SERVES, BUSY))
    api.logs |= {HEAD: HEAD_LOG, WORKER: WORKER_LOG}
    return api


def test_all_nodes_in_order_of_time(service: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "llm"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines] == ["10:00:00", "10:00:01", "10:00:02", "10:00:08", "10:00:09"]
    assert [line.split()[1:4] for line in lines] == [
        ["0", "head", "supervisor"],
        ["1", "worker", "supervisor"],
        ["0", "head", "engine"],
        ["1", "worker", "engine"],
        ["0", "head", "supervisor"],
    ]
    assert lines[0].endswith("llm-0 INFO state: starting (epoch 1)")


def test_errors_alone(service: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "llm", "--errors", "-o", "json"]) == ExitCode.OK
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["text"].split(":")[0] for one in found] == [
        "torch.OutOfMemoryError", "llm-0 ERROR the engine of epoch 1 ended",
    ]  # fmt: skip


def test_previous_ends_with_the_termination_log(
    api: StubApi, kubeconfig: object, capsys: pytest.CaptureFixture[str]
) -> None:
    from unit.operate.cases import ended

    put(api, Case("", [ended(20, "/mnt/models: there is no model. Fill the claim.")]))
    api.logs[HEAD] = HEAD_LOG
    assert run(["logs", "llm", "--previous"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert "exit code 20: /mnt/models: there is no model" in lines[-1]
    assert "kubelet" in lines[-1]
    assert any("previous=true" in path for _, path, _, _ in api.requests)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--since", "soon"], "'soon' is not a duration", id="since"),
        pytest.param(["--follow", "--previous"], "nothing to follow", id="follow-previous"),
    ],
)
def test_wrong_input(
    service: StubApi, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(["logs", "llm", *arguments]) == ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_a_login_that_may_not_read_logs(service: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    service.refuse("GET", "/log", 403, status(403, "is forbidden", "Forbidden"))
    assert run(["logs", "llm"]) == ExitCode.FORBIDDEN
    assert "may not get pods/log" in capsys.readouterr().err


def test_since_is_asked_of_the_api(service: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "llm", "--since", "10m"]) == ExitCode.OK
    asked = [path for _, path, _, _ in service.requests if "/log" in path]
    assert len(asked) == 2
    assert all("sinceTime=" in path for path in asked)


def test_lines_without_a_time_keep_to_the_line_before() -> None:
    stamps = ("2026-01-01T10:00:00Z p INFO a", "2026-01-01T10:00:05Z p INFO b")
    text = f"{stamps[0]}\nTraceback (most recent call last):\n  File\n{stamps[1]}\n"
    lines = list(read(text, node="0", role="head", pod="p"))
    assert [line.at for line in lines] == [lines[0].at] * 3 + [lines[0].at + 5]
    other = Line(lines[0].at + 1, "1", "worker", "q", "engine", "x")
    assert [line.node for line in merged([lines, [other]])] == ["0", "0", "0", "1", "0"]


SECRETS = [
    pytest.param("--api-key sk-canary-000", id="option"),
    pytest.param("['--api-key', 'canary-000']", id="argument-list"),
    pytest.param("api_key='canary-000'", id="named"),
    pytest.param('{"hf_token": "canary-000"}', id="json"),
    pytest.param("Authorization: Bearer canary-000-abc", id="bearer"),
    pytest.param("HF_TOKEN=hf_canarycanarycanary000", id="variable"),
    pytest.param("logged in with hf_canarycanarycanary000", id="hub-token"),
    pytest.param("pull from https://user:canary-000@registry/x", id="url"),
    pytest.param("AWS_SECRET_ACCESS_KEY: canary-000", id="aws"),
    pytest.param("-----BEGIN RSA PRIVATE KEY-----\ncanary-000\n-----END RSA PRIVATE KEY-----", id="key"),
    pytest.param("token sha256~canarycanarycanarycanary000", id="openshift"),
]


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_is_shown(text: str) -> None:
    assert "canary" not in without_secrets(f"before {text} after")
    assert without_secrets(f"before {text} after").startswith("before ")


@pytest.mark.parametrize(
    "text",
    [
        "max_num_batched_tokens=8192, max_model_len=131072",
        "Avg prompt throughput: 12.0 tokens/s, generation throughput: 3.4 tokens/s",
        "pad_token_id: 0",
        "lost llm-worker: no heartbeat for 5.0 s",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("line", "written"),
    [
        pytest.param("(APIServer pid=1) INFO 03-05 10:20:30 [api.py:1] x", "03-05 10:20:30", id="vllm"),
        pytest.param("2026-03-05 10:20:30,123 INFO scripts.py:1 -- x", "03-05 10:20:30", id="ray"),
        pytest.param("(raylet) 2026-03-05 10:20:30,123 WARNING x", "03-05 10:20:30", id="ray-forwarded"),
        pytest.param("INFO 99-99 10:20:30 [api.py:1] x", None, id="no-date"),
        pytest.param("plain", None, id="none"),
    ],
)
def test_lines_that_only_their_writer_has_stamped(line: str, written: str | None) -> None:
    (found,) = read(line, node="0", role="head", pod="p", began=1.0)
    if written is None:
        assert found.at == 1.0
    else:
        assert datetime.fromtimestamp(found.at).astimezone().strftime("%m-%d %H:%M:%S") == written


def test_lines_of_one_log_stay_in_their_order() -> None:
    text = "2026-03-05 10:20:30,000 INFO a\n2026-03-05 10:20:29,000 INFO b\nc\n"
    assert [one.text[-1] for one in merged([read(text, node="0", role="head", pod="p")])] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        pytest.param(["--node", "node-1"], 3, id="machine"),
        pytest.param(["--node", "0"], 3, id="rank"),
        pytest.param(["--node", WORKER], 2, id="pod"),
        pytest.param(["--node", "0", "--errors"], 1, id="its-errors"),
        pytest.param(["--tail", "1"], 1, id="tail"),
        pytest.param(["--tail", "0"], 0, id="nothing"),
        pytest.param(["--tail", "99"], 5, id="more-than-there-is"),
    ],
)
def test_some_lines(
    service: StubApi, capsys: pytest.CaptureFixture[str], arguments: list[str], count: int
) -> None:
    service.objects["pods", "demo", WORKER]["spec"]["nodeName"] = "node-2"
    assert run(["logs", "llm", *arguments]) == ExitCode.OK
    assert len(capsys.readouterr().out.splitlines()) == count


def test_a_node_that_nobody_has(service: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "llm", "--node", "7"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "there is no node '7'" in said
    assert WORKER in said

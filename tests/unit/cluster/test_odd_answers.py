"""What answers under the API server's address need not be one: one line within a bound, never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sources.servers import Answer, Asked, Server, serve
from unit.cluster.kubeconfigs import write_kubeconfig
from vllm_multinode.cli.app import run
from vllm_multinode.cluster import transport
from vllm_multinode.contract.exit_codes import ExitCode

_SPEC = {"name": "llm", "model": {"claim": "models"}, "parallelism": {"tensor": 8, "pipeline": 2}}
_VERSION = {"gitVersion": "v1.34.0", "major": "1", "minor": "34"}


def kubeconfig(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "spec.yaml").write_text(yaml.safe_dump(_SPEC))
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(folder / "kubeconfig", url)))
    monkeypatch.chdir(folder)


def groups(asked: Asked) -> Answer | None:
    """Discovery as an API server answers it, so that the odd answer is the list's."""
    kinds = [("inferenceservices", "InferenceService"), ("servingruntimes", "ServingRuntime")]
    resources = [{"name": name, "kind": kind, "namespaced": True, "verbs": ["list"]} for name, kind in kinds]
    if asked.path.startswith("/apis/") and asked.path.count("/") == 3:
        return Answer(body=json.dumps({"kind": "APIResourceList", "resources": resources}).encode())
    return None


def odd(body: bytes) -> Callable[[Asked], Answer]:
    return lambda asked: groups(asked) or Answer(body=body)


COMMANDS = [
    pytest.param(["wait", "llm", "--timeout", "5"], id="wait"),
    pytest.param(["deploy", "-f", "spec.yaml", "--kserve", "0.18.1", "--timeout", "5"], id="deploy"),
    pytest.param(["delete", "llm"], id="delete"),
    pytest.param(["doctor", "llm"], id="doctor"),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>Please log in</html>", id="html"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"items": 7}', id="items-are-a-number"),
        pytest.param(b'{"items": [7, "x", null]}', id="items-are-none"),
        pytest.param(b'{"items": [{"metadata": {}}]}', id="no-names"),
        pytest.param(b'{"metadata": 7, "spec": []}', id="odd-object"),
        pytest.param(b'{"items": [], "metadata": {"continue": "again"}}', id="no-end"),
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"items": [{"metadata": {"name": "llm", "labels": "x"}}]}', id="labels-are-text"),
        pytest.param(b'{"items": [{"metadata": {"name": "llm"}, "spec": "x"}]}', id="spec-is-text"),
        pytest.param(b'{"items": [{"metadata": {"name": "llm"}, "status": [1]}]}', id="status-is-a-list"),
    ],
)
def test_an_odd_answer_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    body: bytes,
) -> None:
    with serve(Server(odd(body))) as server:
        kubeconfig(tmp_path, server.url, monkeypatch)
        code = run(command)
    told = capsys.readouterr()
    assert code in set(ExitCode), told.err
    assert "Traceback" not in told.err + told.out


@pytest.mark.parametrize("command", COMMANDS)
def test_an_answer_that_drips_ends_within_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 0.1)
    monkeypatch.setattr(transport, "READ_TIMEOUT", 0.2)
    monkeypatch.setattr(transport, "_WHOLE", 0.01)
    with serve(Server(lambda _: Answer(body=b"{" + b" " * 3000, drip=0.02))) as server:
        kubeconfig(tmp_path, server.url, monkeypatch)
        code = run(command)
    assert code == ExitCode.CLUSTER_UNREACHABLE
    assert "did not finish its response" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_an_answer_without_an_end_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setattr(transport, "_MOST_ANSWER", 1 << 20)
    with serve(Server(odd(b'{"items": [' + b" " * (2 << 20)))) as server:
        kubeconfig(tmp_path, server.url, monkeypatch)
        code = run(command)
    assert code == ExitCode.CLUSTER_UNREACHABLE
    assert "more than 1 MiB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(
            200, b'{"resources": [7, null, {"name": 5}, {"name": "pods", "kind": []}]}', id="entries"
        ),
        pytest.param(200, b'{"resources": "abc"}', id="text"),
        pytest.param(
            403, b'{"kind": "Status", "code": "x", "message": {"a": 1}, "details": [1]}', id="refusal"
        ),
        pytest.param(422, b'{"kind": "Status", "details": {"causes": 7}, "reason": 7}', id="causes"),
    ],
)
@pytest.mark.parametrize("command", [*COMMANDS, pytest.param(["status"], id="status")])
def test_an_odd_discovery_or_refusal_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    status: int,
    body: bytes,
) -> None:
    with serve(Server(lambda _: Answer(status, body=body))) as server:
        kubeconfig(tmp_path, server.url, monkeypatch)
        code = run(command)
    told = capsys.readouterr()
    assert code in set(ExitCode) - {ExitCode.OK}, told.err
    assert "Traceback" not in told.err + told.out

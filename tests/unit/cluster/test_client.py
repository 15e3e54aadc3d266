"""Requests to a stand-in: every failure is one line with its own exit code, and without a secret."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from unit.cluster.kubeconfigs import TOKEN, write_kubeconfig
from unit.cluster.stub_api import StubApi, status
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.failures import FieldConflictError
from vllm_multinode.cluster.transport import ExpiredError
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

SERVICE = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "llm"},
    "spec": {"predictor": {"minReplicas": 1}},
}
DENIED = 'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: '


def conflict() -> dict[str, Any]:
    """As a real API server answers a server-side apply whose fields belong to others."""
    with_whom = 'conflict with "kubectl-client-side-apply" using serving.kserve.io/v1beta1'
    what = f"Apply failed with 1 conflict: {with_whom}"
    cause = {
        "reason": "FieldManagerConflict",
        "message": with_whom,
        "field": ".spec.predictor.minReplicas",
    }
    return status(409, what, "Conflict", causes=[cause])


REFUSALS = [
    pytest.param(
        401, status(401, "Unauthorized", "Unauthorized"), ExitCode.UNAUTHORIZED, ["expired", "oc login http://"],
        id="expired-token",
    ),
    pytest.param(
        403,
        status(403, 'inferenceservices "llm" is forbidden: User "ada" cannot patch resource', "Forbidden"),
        ExitCode.FORBIDDEN,
        ["ada may not patch inferenceservices.serving.kserve.io in namespace demo", "kubectl auth can-i"],
        id="forbidden",
    ),
    pytest.param(
        403, status(403, DENIED + "storageUri is required", "Forbidden"), ExitCode.WILL_NOT_SERVE,
        ["KServe rejects it: storageUri is required", "multinode validate"], id="kserve-webhook",
    ),
    pytest.param(
        400, status(400, 'admission webhook "pods.example.com" denied the request: no'),
        ExitCode.WILL_NOT_SERVE, ["The webhook pods.example.com rejects it: no"], id="other-webhook",
    ),
    pytest.param(
        500,
        status(500, 'Internal error occurred: failed calling webhook "x.kserve": Post "https://x": refused'),
        ExitCode.CLUSTER_UNREACHABLE, ["the webhook x.kserve does not answer"], id="silent-webhook",
    ),
    pytest.param(
        403,
        status(403, "ValidatingAdmissionPolicy 'gpus' with binding 'b' denied request: too many", "Invalid"),
        ExitCode.WILL_NOT_SERVE, ["the policy gpus rejects it: too many"], id="policy",
    ),
    pytest.param(
        403, status(403, "exceeded quota: gpus, requested: 8, used: 8, limited: 8", "Forbidden"),
        ExitCode.FORBIDDEN, ["exceeded quota", "larger quota"], id="quota",
    ),
    pytest.param(
        403, status(403, "being terminated", "Forbidden", causes=[{"reason": "NamespaceTerminating"}]),
        ExitCode.CONFLICT, ["namespace demo is being deleted"], id="terminating-namespace",
    ),
    pytest.param(
        404, status(404, 'namespaces "demo" not found', "NotFound", name="demo", kind="namespaces"),
        ExitCode.NAMESPACE_MISSING, ["there is no namespace 'demo'", "oc new-project demo"],
        id="no-namespace",
    ),
    pytest.param(
        409, conflict(), ExitCode.CONFLICT,
        ["kubectl-client-side-apply owns .spec.predictor.minReplicas", "--force-conflicts"],
        id="field-conflict",
    ),
    pytest.param(
        409, status(409, "the object has been modified", "Conflict"), ExitCode.CONFLICT,
        ["it was changed meanwhile", "Try again"], id="changed-meanwhile",
    ),
    pytest.param(
        422, status(422, "spec.predictor.minReplicas: Invalid value", "Invalid"), ExitCode.WILL_NOT_SERVE,
        ["the API rejects it: spec.predictor.minReplicas"], id="invalid",
    ),
    pytest.param(
        400, status(400, 'strict decoding error: unknown field "spec.predicator"', "BadRequest"),
        ExitCode.WILL_NOT_SERVE, ["spec.predicator"], id="unknown-field",
    ),
    pytest.param(
        500,
        status(
            500,
            "failed to create typed patch object (demo/llm; serving.kserve.io/v1beta1, "
            "Kind=InferenceService): .spec.predicator: field not declared in schema",
        ),
        ExitCode.WILL_NOT_SERVE, ["InferenceService has no field .spec.predicator."], id="undeclared-field",
    ),
    pytest.param(
        200, b"<html>Log in</html>", ExitCode.CLUSTER_UNREACHABLE, ["may not be a Kubernetes API"], id="html",
    ),
    pytest.param(
        302,
        b"",
        ExitCode.CLUSTER_UNREACHABLE,
        ["returned 302", "may not be a Kubernetes API"],
        id="redirect",
    ),
    pytest.param(500, status(500, "etcd"), ExitCode.CLUSTER_UNREACHABLE, ["returned 500: etcd"], id="broken"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "body", "exit_code", "words"), REFUSALS)
def test_refusal_is_one_line(
    api: StubApi, cluster: Cluster, code: int, body: Any, exit_code: ExitCode, words: list[str]
) -> None:
    api.refuse("PATCH", "inferenceservices", code, body)
    with pytest.raises(MultinodeError) as raised:
        cluster.apply(SERVICE)
    line = str(raised.value)
    assert raised.value.code == exit_code
    assert "\n" not in line
    for word in words:
        assert word in line
    if exit_code != ExitCode.UNAUTHORIZED:
        assert "demo" in line or "http://" in line


def test_no_answer_shows_the_token(api: StubApi, cluster: Cluster) -> None:
    api.refuse("PATCH", "inferenceservices", 422, status(422, f"bad header Bearer {TOKEN}"))
    with pytest.raises(MultinodeError) as raised:
        cluster.apply(SERVICE)
    assert TOKEN not in str(raised.value)
    assert "***" in str(raised.value)
    assert dict(api.requests[-1][2])["authorization"] == f"Bearer {TOKEN}"


def test_conflict_names_every_owner(api: StubApi, cluster: Cluster) -> None:
    api.refuse("PATCH", "inferenceservices", 409, conflict())
    with pytest.raises(FieldConflictError) as raised:
        cluster.apply(SERVICE)
    assert raised.value.owners == {"kubectl-client-side-apply": [".spec.predictor.minReplicas"]}


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        pytest.param({"v1": {}}, "OpenShift AI operator brings it", id="no-kserve"),
        pytest.param(
            {"v1": {}, "serving.kserve.io/v1beta1": {}}, "does not know InferenceService", id="no-kind"
        ),
    ],
)
def test_missing_kind_says_what_brings_it(api: StubApi, cluster: Cluster, kinds: Any, words: str) -> None:
    api.kinds = kinds
    with pytest.raises(MultinodeError, match=words) as raised:
        cluster.apply(SERVICE)
    assert raised.value.code == ExitCode.KIND_MISSING


def test_apply_says_who_and_how(api: StubApi, cluster: Cluster) -> None:
    cluster.apply(SERVICE, dry_run=True, force=True)
    method, path, headers, _ = api.requests[-1]
    assert method == "PATCH"
    assert path.startswith("/apis/serving.kserve.io/v1beta1/namespaces/demo/inferenceservices/llm?")
    for part in ("fieldManager=vllm-multinode", "fieldValidation=Strict", "force=true", "dryRun=All"):
        assert part in path
    assert headers["Content-Type"] == "application/apply-patch+yaml"
    assert api.get("inferenceservices", "llm") is None


def test_absent_is_none_and_not_deleted_twice(api: StubApi, cluster: Cluster) -> None:
    services = cluster.resource("serving.kserve.io/v1beta1", "InferenceService")
    assert cluster.get(services, "llm") is None
    cluster.apply(SERVICE)
    assert cluster.delete(services, "llm")
    assert not cluster.delete(services, "llm")


def test_a_list_is_read_to_its_end(api: StubApi, cluster: Cluster) -> None:
    for number in range(1203):
        api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}})
    found, _ = cluster.list(cluster.resource("v1", "ConfigMap"))
    assert len({one["metadata"]["name"] for one in found}) == 1203
    assert found[0]["kind"] == "ConfigMap"


def test_busy_api_is_asked_again(api: StubApi, cluster: Cluster) -> None:
    body = status(429, "too many requests")
    api.refuse("PATCH", "inferenceservices", 429, body, times=2, headers={"Retry-After": "0"})
    assert cluster.apply(SERVICE)["metadata"]["name"] == "llm"


def test_lost_connection_is_taken_up_again(api: StubApi, cluster: Cluster) -> None:
    services = cluster.resource("serving.kserve.io/v1beta1", "InferenceService")
    cluster.close()
    assert cluster.get(services, "llm") is None


def test_watch_tells_changes_and_expiry(api: StubApi, cluster: Cluster) -> None:
    services = cluster.resource("serving.kserve.io/v1beta1", "InferenceService")
    _, since = cluster.list(services)
    cluster.apply(SERVICE)
    watching = cluster.watch(services, since=since, seconds=30)
    change, body = next(iter(watching))
    assert (change, body["metadata"]["name"]) == ("ADDED", "llm")
    api.compacted = api.version + 1
    with pytest.raises(ExpiredError):
        next(iter(cluster.watch(services, since=since, seconds=30)))


def test_a_stopped_watch_ends_at_once(api: StubApi, cluster: Cluster) -> None:
    services = cluster.resource("serving.kserve.io/v1beta1", "InferenceService")
    watching = cluster.watch(services, since="0", seconds=300)
    ended = threading.Event()

    def follow() -> None:
        with suppress(MultinodeError):
            list(watching)
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    while not api.watches:
        ended.wait(0.01)
    watching.stop()
    assert ended.wait(10)


def cluster_at(server: str, path: Path, **cluster: Any) -> Cluster:
    """Logged in to a server that may not be one."""
    return Cluster.connect(kubeconfig=str(write_kubeconfig(path, server, **cluster)))


@contextmanager
def answering(raw: bytes) -> Iterator[int]:
    """A port that answers every connection with the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        stop = threading.Event()

        def answer() -> None:
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.recv(4096)
                    connection.sendall(raw)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def test_refused_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        cluster_at(f"https://127.0.0.1:{port}", tmp_path / "k") as cluster,
        pytest.raises(MultinodeError) as raised,
    ):
        cluster.resource("v1", "Pod")
    assert raised.value.code == ExitCode.CLUSTER_UNREACHABLE
    assert "refuses the connection" in str(raised.value)
    assert "VPN" in str(raised.value)


def test_unknown_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with (
        cluster_at("https://nowhere.invalid:6443", tmp_path / "k") as cluster,
        pytest.raises(MultinodeError, match=r"DNS cannot resolve: nowhere\.invalid") as raised,
    ):
        cluster.resource("v1", "Pod")
    assert raised.value.code == ExitCode.CLUSTER_UNREACHABLE


def test_plain_http_behind_https(tmp_path: Path) -> None:
    with (
        answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port,
        cluster_at(f"https://127.0.0.1:{port}", tmp_path / "k") as cluster,
        pytest.raises(MultinodeError, match="does not speak TLS") as raised,
    ):
        cluster.resource("v1", "Pod")
    assert raised.value.code == ExitCode.CLUSTER_UNREACHABLE


def test_token_that_no_header_carries(api: StubApi, tmp_path: Path) -> None:
    path = tmp_path / "k"
    with cluster_at(api.url, path):
        pass
    path.write_text(path.read_text().replace(TOKEN, '"two\\nlines-of-a-secret"'))
    with Cluster.connect(kubeconfig=str(path)) as cluster, pytest.raises(MultinodeError) as raised:
        cluster.resource("v1", "Pod")
    assert raised.value.code == ExitCode.UNAUTHORIZED
    assert "secret" not in str(raised.value)

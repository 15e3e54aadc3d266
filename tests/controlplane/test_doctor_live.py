"""`doctor` and `status` against a real API server: the causes' own cases, the bounds, and the rights."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.cases import ADDRESS, Api, running
from controlplane.plane import builds
from unit.cluster.objects import running as running_pod
from unit.operate.cases import BUSY, CASES, NOTED, SERVES, Case, both, serving, told
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.snapshot import Snapshot
from vllm_multinode.cluster.transport import Transport
from vllm_multinode.cluster.wait import targets
from vllm_multinode.cluster.wait import wait as until_it_serves
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate import cluster_source
from vllm_multinode.operate.cluster_source import MOST_REQUESTS, ClusterSource
from vllm_multinode.operate.doctor import Diagnosis, diagnosis_of
from vllm_multinode.operate.numbers import OF_STATUS
from vllm_multinode.operate.status import ServiceStatus, status_of

pytestmark = pytest.mark.controlplane

log = logging.getLogger(__name__)
LATER = 3600.0
NEED_TIME = {"not-taken-up", "controller-down", "stuck-terminating"}
"""Causes that take time: they are looked at as if an hour had passed."""
HEALTHY = Case("", [serving(), *both()], SERVES, BUSY)
NUMBERS = itertools.count()
RIGHTS: dict[str, Any] = {
    "inferenceservices": ("serving.kserve.io", ["get", "list"]),
    "leaderworkersets": ("leaderworkerset.x-k8s.io", ["get", "list"]),
    "pods": ("", ["get", "list"]),
    "events": ("", ["get", "list"]),
    "persistentvolumeclaims": ("", ["get", "list"]),
    "pods/log": ("", ["get"]),
    "pods/proxy": ("", ["get"]),
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    try:
        builds.go_version()
    except builds.GoMissingError as error:
        pytest.skip(str(error))
    with running(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent to the API server."""
    sent: list[str] = []
    send = Transport.send

    def counted(self: Transport, asked: Any, method: str, path: str, **more: Any) -> Any:
        sent.append(f"{method} {path}")
        return send(self, asked, method, path, **more)

    monkeypatch.setattr(Transport, "send", counted)
    return sent


@pytest.fixture
def look(api: Api, tmp_path: Path, requests: list[str]) -> Callable[..., Diagnosis]:
    """Put a case there, and ask the doctor."""

    def looked(case: Case, source: Path | None = None) -> Diagnosis:
        namespace = f"case-{next(NUMBERS)}"
        api.put(namespace, case)
        if source is not None:
            grant(api, namespace, RIGHTS)
        config = api.kubeconfig(tmp_path, namespace, source)
        with Cluster.connect(kubeconfig=str(config)) as cluster:
            (seen,) = ClusterSource(cluster).observe("llm", deep=True)
            return diagnosis_of(seen)

    return looked


def grant(api: Api, namespace: str, rights: dict[str, Any], user: str = "guest") -> None:
    """Let the guest do this in a namespace, and nothing else."""
    rules = [
        {"apiGroups": [group], "resources": [name], "verbs": verbs} for name, (group, verbs) in rights.items()
    ]
    place = f"apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    api.ask("POST", f"{place}/roles", {"metadata": {"name": "looks"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "looks"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    body = {"metadata": {"name": "looks"}, "roleRef": role, "subjects": [subject]}
    api.ask("POST", f"{place}/rolebindings", body)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every third case; with --all-versions each of them."""
    if "cause_case" in metafunc.fixturenames:
        step = 1 if metafunc.config.getoption("--all-versions") else 3
        named = [pytest.param(case, id=f"{case.cause}-{n}") for n, case in enumerate(CASES)]
        metafunc.parametrize("cause_case", named[::step])


def test_the_cause_is_named_first(
    look: Callable[..., Diagnosis], requests: list[str], monkeypatch: pytest.MonkeyPatch, cause_case: Case
) -> None:
    case = cause_case
    if case.cause in NEED_TIME:
        later = SimpleNamespace(time=lambda: time.time() + LATER)
        monkeypatch.setattr(cluster_source, "time", later)
    found = look(case)
    assert [one.cause for one in found.findings][:1] == [case.cause], found
    assert case.words in found.sentence
    assert found.verdict != "nothing wrong"
    assert len(requests) <= MOST_REQUESTS, requests


@pytest.mark.parametrize("case", [pytest.param(case, id=case.cause) for case in NOTED])
def test_what_is_worth_knowing_is_a_note(look: Callable[..., Diagnosis], case: Case) -> None:
    found = look(case)
    assert found.verdict == "nothing wrong"
    assert [one.cause for one in found.findings] == [case.cause]


def test_a_healthy_service_with_no_more_rights_than_the_documented(
    api: Api, look: Callable[..., Diagnosis]
) -> None:
    found = look(HEALTHY, api.server.guest)
    assert (found.verdict, found.findings, found.unseen) == ("nothing wrong", (), ())


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        pytest.param("pods", "may not list pods", id="pods"),
        pytest.param("events", "may not list events", id="events"),
        pytest.param("pods/log", "may not get pods/log", id="logs"),
        pytest.param("pods/proxy", "may not get pods/proxy", id="supervisors"),
        pytest.param("persistentvolumeclaims", "may not list persistentvolumeclaims", id="claims"),
    ],
)
def test_what_could_not_be_seen_is_said(
    api: Api, tmp_path: Path, requests: list[str], missing: str, words: str
) -> None:
    namespace = f"case-{next(NUMBERS)}"
    head, worker = both(ready=False)
    pending = {**worker, "status": {"phase": "Pending"}}
    api.put(namespace, Case("", [head, pending], told("forming", "1 of 2", members=1)))
    grant(api, namespace, {name: right for name, right in RIGHTS.items() if name != missing})
    config = api.kubeconfig(tmp_path, namespace, api.server.guest)
    with Cluster.connect(kubeconfig=str(config)) as cluster:
        (seen,) = ClusterSource(cluster).observe("llm", deep=True)
    found = diagnosis_of(seen)
    assert any(words in sentence for sentence in found.unseen), found.unseen
    assert found.verdict != "nothing wrong"
    assert len(requests) <= MOST_REQUESTS, requests


def test_a_service_that_is_deleted_while_somebody_waits(api: Api, tmp_path: Path) -> None:
    namespace = f"case-{next(NUMBERS)}"
    api.put(namespace, Case("", both(ready=False), told("forming", "1 of 2", members=1)))
    path = f"apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/llm"
    shown: list[Snapshot] = []

    def show(snapshot: Snapshot) -> None:
        if not shown:
            api.ask("DELETE", path, None)
        shown.append(snapshot)

    with Cluster.connect(kubeconfig=str(api.kubeconfig(tmp_path, namespace))) as cluster:
        [target] = targets(cluster, "llm")
        with pytest.raises(MultinodeError, match="no longer exists") as ended:
            until_it_serves(cluster, target, timeout=60, show=show)
    assert ended.value.code == ExitCode.NOT_SERVING


def test_workers_that_are_made_again_and_again(api: Api, tmp_path: Path) -> None:
    """As KServe does that takes its own for orphans."""
    namespace = f"case-{next(NUMBERS)}"
    api.put(namespace, Case("", both(ready=False), told("forming", "1 of 2", members=1)))
    path, name = f"apis/apps/v1/namespaces/{namespace}/deployments", "llm-predictor-worker"
    labels = {"serving.kserve.io/inferenceservice": "llm"}
    container = {"name": "worker-container", "image": "example.com/vllm:1"}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
        "metadata": {"labels": labels}, "spec": {"containers": [container]}}}  # fmt: skip
    rounds: list[Snapshot] = []

    def show(snapshot: Snapshot) -> None:
        if rounds:
            api.ask("DELETE", f"{path}/{name}", None)
        api.ask("POST", path, {"metadata": {"name": name, "labels": labels}, "spec": spec})
        rounds.append(snapshot)

    with Cluster.connect(kubeconfig=str(api.kubeconfig(tmp_path, namespace))) as cluster:
        [target] = targets(cluster, "llm")
        with pytest.raises(MultinodeError, match=r"deletes and recreates it.*kserve#6113") as ended:
            until_it_serves(cluster, target, timeout=60, show=show)
    assert ended.value.code == ExitCode.NOT_SERVING
    assert len(rounds) >= 4


def test_a_login_that_may_do_nothing_is_told_so(api: Api, tmp_path: Path) -> None:
    namespace = f"case-{next(NUMBERS)}"
    api.put(namespace, HEALTHY)
    config = api.kubeconfig(tmp_path, namespace, api.server.guest)
    with (
        Cluster.connect(kubeconfig=str(config)) as cluster,
        pytest.raises(MultinodeError, match="may not list inferenceservices") as refused,
    ):
        ClusterSource(cluster).observe("llm", deep=True)
    assert refused.value.code == ExitCode.FORBIDDEN


def large(name: str, nodes: int) -> list[dict[str, Any]]:
    """A service of so many pods that serve."""
    service = serving()
    service["metadata"] = {**service["metadata"], "name": name}
    pods = [running_pod(f"{name}-head")]
    pods += [running_pod(f"{name}-worker-{number}", role="worker") for number in range(nodes - 1)]
    for pod in pods:
        pod["metadata"]["labels"] = {
            **pod["metadata"]["labels"],
            "serving.kserve.io/inferenceservice": name,
        }
    pods[0]["status"] |= {"podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}
    return [service, *pods]


@pytest.mark.parametrize(
    ("services", "nodes"),
    [pytest.param(1, 8, id="8-pods"), pytest.param(50, 2, id="50-services")],
)
@pytest.mark.parametrize("deep", [pytest.param(False, id="status"), pytest.param(True, id="doctor")])
def test_ten_requests_at_most_whatever_there_is(
    api: Api, tmp_path: Path, requests: list[str], request: pytest.FixtureRequest,
    services: int, nodes: int, deep: bool,
) -> None:  # fmt: skip
    if not request.config.getoption("--all-versions"):
        pytest.skip("hundreds of objects: with --all-versions")
    namespace = f"many-{services}-{'doctor' if deep else 'status'}"
    api.ask("POST", "api/v1/namespaces", {"metadata": {"name": namespace}})
    api.made.clear()
    for number in range(services):
        for body in large(f"llm-{number:02}", nodes):
            api.add(body, namespace)
    names = ["llm-00-head", *(f"llm-00-worker-{number}" for number in range(nodes - 1))]
    members = [{"name": name, "rank": rank, "state": "serving"} for rank, name in enumerate(names)]
    api.says = {**SERVES, "nodes": nodes, "members": members}
    api.counts = "".join(f"{name} {value}\n" for name, value in BUSY.items())
    with Cluster.connect(kubeconfig=str(api.kubeconfig(tmp_path, namespace))) as cluster:
        begun = time.monotonic()
        found = ClusterSource(cluster).observe(deep=deep, counters=() if deep else OF_STATUS)
        seconds = time.monotonic() - begun
    statuses: list[ServiceStatus] = [status_of(one) for one in found]
    assert [one.serving for one in statuses] == [True] * services
    assert sum(len(one.ranks) for one in statuses) == services * nodes
    assert {diagnosis_of(one).verdict for one in found} == {"nothing wrong"}
    assert len(requests) <= MOST_REQUESTS, requests
    log.info("%s: %d requests, %.2f s", namespace, len(requests), seconds)

"""Waiting with pods whose state the test writes: it ends when the service answers, or with the reason."""

import threading
from typing import Any

import pytest

from unit.cluster.objects import (
    Object,
    head_says,
    leader_worker_set,
    running,
    service,
    with_status,
)
from unit.cluster.stub_api import StubApi, status
from vllm_multinode.cluster import display
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.snapshot import Snapshot
from vllm_multinode.cluster.supervisor import completion
from vllm_multinode.cluster.transport import ExpiredError
from vllm_multinode.cluster.wait import Target, targets, wait
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

pytestmark = pytest.mark.usefixtures("impatient")
LLM = Target("serving.kserve.io/v1beta1", "InferenceService", "llm")
SET = Target("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "llm")


def serve(api: StubApi, generation: int = 1) -> None:
    """All of a service that serves."""
    body = with_status(service(), ready="True", observedGeneration=generation, url="http://llm.example.com")
    body["metadata"]["generation"] = generation
    api.heads["llm-predictor-0:8081"] = head_says()
    api.put(running("llm-predictor-worker-0", role="worker", generation=generation))
    api.put(running(generation=generation))
    api.put(body)


def test_ends_when_it_serves(api: StubApi, cluster: Cluster) -> None:
    api.put(with_status(service()))
    shown: list[list[display.Row]] = []

    def show(snapshot: Snapshot) -> None:
        shown.append(list(display.rows(snapshot)))
        if len(shown) == 3:
            api.put(running(ready=False))
            api.heads["llm-predictor-0:8081"] = head_says("forming", "1 of 2")
        if any(row.state.startswith("forming") for row in shown[-1]):
            serve(api)

    served = wait(cluster, LLM, timeout=20, show=show)
    assert served.url == "http://llm.example.com"
    assert [(row.role, row.rank, row.state) for row in shown[-1]] == [
        ("head", "0", "serving"),
        ("worker", "1", "serving"),
    ]
    assert any(row.state == "forming (1 of 2)" for rows in shown for row in rows)


def unknown(message: str) -> Object:
    """As KServe v0.16 to v0.19 leave a service whose two Deployments are complete."""
    body = with_status(service(), ready="Unknown", url="http://llm.example.com")
    body["status"]["conditions"][0]["message"] = message
    return body


def test_kserve_that_stays_at_unknown(api: StubApi, cluster: Cluster) -> None:
    complete = 'ReplicaSet "llm-1" has successfully progressed.'
    serve(api)
    api.put(unknown(f"predictor-container: {complete}, worker-container: ReplicaSet is progressing."))
    with pytest.raises(MultinodeError, match="its head serves, and its controller says Ready=Unknown"):
        wait(cluster, LLM, timeout=0.4)
    api.put(unknown(f"predictor-container: {complete}, worker-container: {complete}"))
    assert wait(cluster, LLM, timeout=20).stuck
    api.heads["llm-predictor-0:8081"] = head_says("recovering")
    with pytest.raises(MultinodeError, match="recovering"):
        wait(cluster, LLM, timeout=0.4)


def test_an_old_generation_that_serves_is_not_enough(api: StubApi, cluster: Cluster) -> None:
    serve(api)
    api.put({**api.objects["inferenceservices", "demo", "llm"], "metadata": {"name": "llm", "generation": 2}})
    with pytest.raises(MultinodeError):
        wait(cluster, LLM, timeout=0.3)
    serve(api, generation=2)
    api.put(running(generation=1))
    with pytest.raises(MultinodeError):
        wait(cluster, LLM, timeout=0.3)
    serve(api, generation=2)
    assert wait(cluster, LLM, timeout=20).generation == 2


def test_a_head_that_recovers_is_waited_for(api: StubApi, cluster: Cluster) -> None:
    serve(api)
    api.heads["llm-predictor-0:8081"] = head_says("recovering", "lost llm-predictor-worker-0")
    with pytest.raises(MultinodeError, match="recovering \\(lost llm-predictor-worker-0\\)") as raised:
        wait(cluster, LLM, timeout=0.4)
    assert raised.value.code == ExitCode.NOT_SERVING


def test_without_the_pods_proxy_conditions_decide(api: StubApi, cluster: Cluster) -> None:
    serve(api)
    api.put(with_status(service()))
    forbidden = status(403, 'pods "llm-predictor-0:8081" is forbidden', "Forbidden")
    api.refuse("GET", "/proxy/status", 403, forbidden)
    said: list[str] = []
    with pytest.raises(MultinodeError):
        wait(cluster, LLM, timeout=0.3, say=said.append)
    assert said == ["This login may not query the head (pods/proxy); the pods' conditions are shown instead."]
    serve(api)
    assert wait(cluster, LLM, timeout=20).ready


def test_deployments_made_again_and_again(api: StubApi, cluster: Cluster) -> None:
    api.put(with_status(service()))
    labels = {"serving.kserve.io/inferenceservice": "llm"}
    rounds = iter(range(100))

    def show(_: Snapshot) -> None:
        metadata = {"name": "llm-predictor-worker", "labels": labels, "uid": f"uid-{next(rounds)}"}
        api.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})

    with pytest.raises(MultinodeError, match=r"kserve#6113.*--target lws"):
        wait(cluster, LLM, timeout=20, show=show)


def test_a_deleted_service_ends_it(api: StubApi, cluster: Cluster) -> None:
    api.put(with_status(service()))

    def show(_: Snapshot) -> None:
        if api.get("inferenceservices", "llm"):
            api.remove("inferenceservices", "llm")

    with pytest.raises(MultinodeError, match="no longer exists"):
        wait(cluster, LLM, timeout=20, show=show)


def test_survives_a_lost_watch(api: StubApi, cluster: Cluster) -> None:
    api.put(with_status(service()))
    cut = threading.Event()

    def show(_: Snapshot) -> None:
        if not cut.is_set() and api.watches >= 4:
            cut.set()
            api.refuse("GET", "watch=true", 500, status(500, "etcd leader changed"), times=4)
            api.cut.set()
        elif cut.is_set() and api.watches >= 4:
            api.cut.clear()
            serve(api)

    assert wait(cluster, LLM, timeout=30, show=show).ready


def test_an_expired_watch_is_begun_anew(
    api: StubApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put(with_status(service()))
    watch, expired = Cluster.watch, iter([True] * 4)

    def first_too_old(self: Cluster, *place: Any, **options: Any) -> Any:
        if next(expired, False):
            raise ExpiredError("too old resource version")
        return watch(self, *place, **options)

    monkeypatch.setattr(Cluster, "watch", first_too_old)

    def show(_: Snapshot) -> None:
        if api.watches == 4:
            serve(api)

    assert wait(cluster, LLM, timeout=30, show=show).ready


def test_an_expired_login_ends_it(api: StubApi, cluster: Cluster) -> None:
    api.put(with_status(service()))
    cluster.resource("serving.kserve.io/v1beta1", "InferenceService")
    api.refuse("GET", "/pods", 401, status(401, "Unauthorized", "Unauthorized"))
    with pytest.raises(MultinodeError) as raised:
        wait(cluster, LLM, timeout=20)
    assert raised.value.code == ExitCode.UNAUTHORIZED


def leader(name: str, index: str) -> Object:
    body = running(name)
    body["metadata"]["labels"] = {
        "leaderworkerset.sigs.k8s.io/name": "llm",
        "leaderworkerset.sigs.k8s.io/worker-index": index,
    }
    return body


def test_leader_worker_set(api: StubApi, cluster: Cluster) -> None:
    body = leader_worker_set()
    body["metadata"] |= {"generation": 1}
    api.put({**body, "status": {"conditions": [{"type": "Available", "status": "True"}], "readyReplicas": 1}})
    api.put(leader("llm-0", "0"))
    api.put(leader("llm-0-1", "1"))
    api.heads["llm-0:8081"] = head_says("starting")
    with pytest.raises(
        MultinodeError, match=r"LeaderWorkerSet demo/llm: does not serve after 0\.3 s: starting"
    ):
        wait(cluster, SET, timeout=0.3)
    known = api.objects["leaderworkersets", "demo", "llm"]
    api.put({**known, "status": {**known["status"], "updatedReplicas": 1}})
    api.heads["llm-0:8081"] = head_says()
    served = wait(cluster, SET, timeout=20)
    assert [row.role for row in display.rows(served)] == ["head", "worker"]


def test_targets_of_a_name(api: StubApi, cluster: Cluster) -> None:
    with pytest.raises(
        MultinodeError, match="there is no InferenceService, LeaderWorkerSet or deployment 'llm'"
    ):
        targets(cluster, "llm")
    api.put(service())
    assert targets(cluster, "llm") == [LLM]
    marks: dict[str, Any] = {
        "labels": {"app.kubernetes.io/managed-by": "vllm-multinode"},
        "annotations": {"vllm-multinode/deployments": "demo/both"},
    }
    for name in ("both-0", "both-1"):
        api.put({**service(), "metadata": {"name": name, **marks}})
    assert [target.name for target in targets(cluster, "both")] == ["both-0", "both-1"]


def test_neither_kind_is_known(api: StubApi, cluster: Cluster) -> None:
    api.kinds = {"v1": api.kinds["v1"]}
    with pytest.raises(MultinodeError) as raised:
        targets(cluster, "llm")
    assert raised.value.code == ExitCode.KIND_MISSING


def test_completion(api: StubApi, cluster: Cluster) -> None:
    def engine(path: str) -> Object:
        if path.endswith("models"):
            return {"data": [{"id": "llm"}]}
        return {"choices": [{"text": " four five"}]}

    api.heads["llm-predictor-0:8080"] = engine
    assert completion(cluster, running(), "One two three") == " four five"


def test_completion_that_is_refused(api: StubApi, cluster: Cluster) -> None:
    with pytest.raises(MultinodeError, match="the engine returned 503 for /v1/models") as raised:
        completion(cluster, running(), "One")
    assert raised.value.code == ExitCode.NOT_SERVING


def test_lines_tell_changes_only() -> None:
    written: list[str] = []
    show = display.Lines(written.append).show
    row = display.Row("p", "head", "n", "0", "starting")
    show([row])
    show([row])
    show([row._replace(state="serving")])
    show([])
    assert [line.split("  ")[-1] for line in written] == [
        "head p (n): starting",
        "head p (n): serving",
        "head p: gone",
    ]


def test_table_takes_reasons_as_they_are() -> None:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        console.print(display.table("t", [display.Row("p", "head", "n", "0", "failed ([/red] [bold]x)")]))
    assert "failed ([/red] [bold]x)" in captured.get()

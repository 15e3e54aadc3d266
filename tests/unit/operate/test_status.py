"""`multinode status` against a stand-in API: one service, many, and a login that may not see all."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from unit.cluster.objects import (
    Object,
    event,
    head_says,
    leader_worker_set,
    pod,
    running,
    service,
    with_status,
)
from unit.cluster.stub_api import Refusal, StubApi, status
from unit.operate.groups import observation
from vllm_multinode.cli.app import run
from vllm_multinode.cluster import display
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate import cluster_source
from vllm_multinode.operate.bench.samples import COUNTERS, engine_of
from vllm_multinode.operate.cluster_source import ClusterSource
from vllm_multinode.operate.numbers import OF_RATES, OF_STATUS, Numbers
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.rates import rates_of
from vllm_multinode.operate.screen import folded, screen, summary, table
from vllm_multinode.operate.status import ServiceStatus, status_of

METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="llm"} 3.0
vllm:num_requests_waiting{engine="0",model_name="llm"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="llm"} 0.25
vllm:num_preemptions_total{engine="0",model_name="llm"} 4.0
"""


def says(state: str = "serving", reason: str = "", **more: Any) -> Object:
    """A head's /status, with all that status shows of it."""
    found = head_says(state, reason)
    versions = {"vllm": "0.32.0", "ray": None, "python": "3.11", "multinode": "0.1.0"}
    members = [{**one, "gpus": 8, "accelerator": "cuda", "versions": versions} for one in found["members"]]
    members[1]["silent_s"] = 0.4
    told = {"tensor_parallel": 8, "pipeline_parallel": 2, "executor": "mp", "since": 1_750_000_000.0}
    return {**found, **told, "members": members, **more}


def put_service(
    api: StubApi, name: str = "llm", *, says_this: Object | None = None, ready: bool = True
) -> None:
    """A service of two nodes, as its controller and its kubelets leave it."""
    body = with_status(service(name), ready="True" if ready else "False", url="http://llm.example.com")
    body["metadata"]["uid"] = f"uid-{name}"
    api.put(body)
    for role in ("head", "worker"):
        made = running(f"{name}-{role}", role=role, ready=ready)
        made["metadata"]["labels"]["serving.kserve.io/inferenceservice"] = name
        api.put(made)
    found = says_this or says()
    found["members"] = [
        {**one, "name": f"{name}-{role}"}
        for one, role in zip(found["members"], ("head", "worker"), strict=True)
    ]
    api.heads[f"{name}-head:8081"] = found
    api.metrics[f"{name}-head:8080"] = METRICS


def look(cluster: Cluster, name: str = "", **more: Any) -> list[ServiceStatus]:
    return [status_of(seen) for seen in ClusterSource(cluster).observe(name, **more)]


def test_a_service_that_serves(api: StubApi, cluster: Cluster) -> None:
    put_service(api)
    (found,) = look(cluster, "llm")
    assert (found.serving, found.state, found.reason, found.nodes) == (True, "serving", "", 2)
    assert [
        (one.rank, one.role, one.gpus, one.version, one.silent_s, one.weights) for one in found.ranks
    ] == [
        (0, "head", 8, "0.32.0", 0.0, 1.0),
        (1, "worker", 8, "0.32.0", 0.4, 1.0),
    ]
    (engine,) = found.engines
    assert (engine.running, engine.waiting, engine.cache_used, engine.preemptions) == (3, 2, 0.25, 4)
    assert "engine: cache 25% used, 3 running, 2 waiting, 4 preempted" in screen(found, 0.0)


def test_an_engine_is_asked_for_what_is_shown_and_for_no_more(api: StubApi, cluster: Cluster) -> None:
    put_service(api)
    (whole,), (selected,) = look(cluster, "llm"), look(cluster, "llm", counters=OF_STATUS)
    assert selected.engines == whole.engines
    asked = [path for _, path, *_ in api.requests if "/proxy/metrics" in path]
    assert [path.rpartition("/proxy/")[2].partition("%5B")[0] for path in asked] == [
        "metrics",
        "metrics/?name",
    ]


@pytest.mark.parametrize(
    ("code", "requests"),
    [
        pytest.param(404, 2, id="no-such-path"),
        # As with several API servers, which count together.
        pytest.param(200, 2, id="selects-nothing"),
        pytest.param(503, 1, id="silent"),
    ],
)
def test_an_engine_that_does_not_select_is_asked_for_all(
    api: StubApi, cluster: Cluster, code: int, requests: int
) -> None:
    put_service(api)
    api.refusals.append(Refusal("GET", r"/proxy/metrics/\?", code, b""))
    (found,) = look(cluster, "llm", counters=OF_STATUS)
    assert [one.running for one in found.engines] == ([3] if requests == 2 else [])
    assert sum("/proxy/metrics" in path for _, path, *_ in api.requests) == requests
    assert len(api.requests) <= cluster_source.MOST_REQUESTS


def test_what_is_selected_is_all_that_is_shown() -> None:
    (before, after) = (observation(turn) for turn in (1, 5))

    def only(seen: Observation, names: Sequence[str]) -> Observation:
        engines = {
            pod: Numbers(tuple(one for one in found.samples if one.name in names))
            for pod, found in seen.engines.items()
            if found is not None
        }
        return replace(seen, engines=engines)

    rates = rates_of(before, after)
    assert rates[0].generation_tokens
    assert rates_of(only(before, OF_RATES), only(after, OF_RATES)) == rates
    (whole,), (selected,) = after.engines.values(), only(after, COUNTERS).engines.values()
    assert whole is not None
    assert selected is not None
    assert engine_of("llm", selected) == engine_of("llm", whole)


def test_the_way_in_leads_to_the_head_itself_with_its_key_and_its_tls(api: StubApi, cluster: Cluster) -> None:
    """A Service may be headless, as OpenShift AI makes it: kubectl would forward to port 80 of the pod."""
    put_service(api)
    (found,) = look(cluster, "llm")
    assert found.entrance[0] == "kubectl port-forward -n demo deployment/llm-predictor 8080"
    assert found.entrance[1].startswith("curl http://localhost:8080/v1/completions ")
    assert "Authorization" not in found.entrance[1]
    head = running("llm-head", role="head")
    head["metadata"]["labels"]["serving.kserve.io/inferenceservice"] = "llm"
    (container,) = head["spec"]["containers"]
    key = {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": "llm-key", "key": "token"}}}
    container["env"] = [key, {"name": "MULTINODE_PORT", "value": "9000"}]
    container["args"] = ["--ssl-certfile", "/tls/tls.crt", "--ssl-keyfile", "/tls/tls.key"]
    api.put(head)
    (found,) = look(cluster, "llm")
    assert found.entrance[0] == "kubectl port-forward -n demo deployment/llm-predictor 8080:9000"
    assert found.entrance[1].startswith("curl -k https://localhost:8080/v1/completions ")
    read = "kubectl get secret llm-key -n demo -o jsonpath={.data.token} | base64 -d"
    assert f'-H "Authorization: Bearer $({read})"' in found.entrance[1]


def test_a_start_shows_the_weights_and_the_links(api: StubApi, cluster: Cluster) -> None:
    told = says("starting", "epoch 1")
    told["members"][0]["loading"] = {"done": 8, "total": 8}
    told["members"][1] |= {"loading": {"done": 2, "total": 8}, "round_trip_ms": 0.25}
    far = {"from": "llm-head", "to": "llm-worker", "round_trip_ms": 0.12, "gbit_s": 9.4, "reason": ""}
    back = {
        "from": "llm-worker",
        "to": "llm-head",
        "round_trip_ms": None,
        "gbit_s": None,
        "reason": "timed out",
    }
    put_service(api, says_this={**told, "wire": [far, back, "not a link"]}, ready=False)
    (found,) = look(cluster, "llm")
    assert [(one.weights, one.round_trip_ms) for one in found.ranks] == [(1.0, None), (0.25, 0.25)]
    text = "\n".join(screen(found, 0.0))
    assert "link llm-head to llm-worker: 9.4 Gbit/s, round trip 0.12 ms" in text
    assert "link llm-worker to llm-head was not measured: timed out" in text
    (seen,) = ClusterSource(cluster).observe("llm")
    assert [row.state for row in display.rows(seen.snapshot)] == [
        "starting (epoch 1), weights 8/8",
        "starting, weights 2/8",
    ]


def test_the_screen_names_all_of_it_within_80_columns(api: StubApi, cluster: Cluster) -> None:
    reason = "lost llm-worker: silent for 5.0 s, which is longer than MULTINODE_HEARTBEAT_TIMEOUT allows"
    incidents = [{"at": 1_750_000_000.0, "cause": "member", "reason": reason}]
    told = says(
        "recovering",
        reason,
        recoveries=1,
        recoveries_by_cause={"member": 1, "engine": 0},
        incidents=incidents,
    )
    put_service(api, says_this=told, ready=False)
    (found,) = look(cluster, "llm")
    lines = screen(found, 1_750_000_065.0)
    text = "\n".join(lines)
    assert lines[0] == "InferenceService demo/llm: recovering for 1m05s"
    assert "lost llm-worker: silent for 5.0 s" in text
    assert "2025-06-15 15:06:40Z" in text
    assert "curl http://localhost:8080/v1/completions" in text
    assert all(len(line) <= 80 for line in lines if not line.lstrip().startswith(("curl", "kubectl")))
    words = {word for line in lines for word in line.split()}
    assert set(reason.split()) <= words


def test_long_names_stand_whole_below_the_table() -> None:
    name = "llama-3-1-405b-instruct-fp8-predictor-worker-6d8f9c7b54-abcde"
    found = ServiceStatus.model_validate(
        {
            "place": "cluster", "kind": "InferenceService", "name": "llama", "namespace": "models",
            "serving": True, "state": "serving",
            "ranks": [
                {"rank": 1, "role": "worker", "pod": name, "state": "serving",
                 "node": "ip-10-0-1-23.ec2.internal"}
            ],
        }
    )  # fmt: skip
    lines = screen(found, 0.0)
    assert any(name in line.split() for line in lines)
    assert any("ip-10-0-1-23.ec2.internal" in line.split() for line in lines)
    assert max(map(len, lines)) <= 80


def test_many_services_are_a_line_each_within_ten_requests(api: StubApi, cluster: Cluster) -> None:
    for number in range(50):
        put_service(api, f"llm-{number:02}")
    ready_requests = len(api.requests)
    found = look(cluster)
    assert len(api.requests) - ready_requests <= cluster_source.MOST_REQUESTS
    assert len(found) == 50
    assert all(one.serving for one in found)
    lines = summary(found, 0.0)
    assert lines[0] == "50 of 50 services serve"
    assert len([line for line in lines if line.startswith("llm-")]) == 50
    assert "supervisors of" in " ".join(lines)


def test_heads_that_are_not_ready_are_asked_first(api: StubApi, cluster: Cluster) -> None:
    for number in range(20):
        put_service(api, f"llm-{number:02}")
    put_service(api, "llm-99", says_this=says("recovering", "lost a worker"), ready=False)
    found = {one.name: one for one in look(cluster)}
    assert found["llm-99"].state == "recovering"
    assert found["llm-99"].reason == "lost a worker"
    lines = summary(list(found.values()), 0.0)
    assert lines[0] == "20 of 21 services serve; not: llm-99"
    assert lines[3].split()[:2] == ["llm-99", "recovering"]


def test_a_service_that_is_being_deleted_does_not_serve(api: StubApi, cluster: Cluster) -> None:
    put_service(api)
    body = api.get("inferenceservices", "llm")
    assert body is not None
    body["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:30Z", "finalizers": ["test/keeps"]}
    (found,) = look(cluster, "llm")
    assert (found.serving, found.state, found.reason) == (False, "serving", "the service is being deleted")
    assert found.engines
    # To delete it has changed its generation.
    body["metadata"]["generation"] += 1
    (found,) = look(cluster, "llm")
    assert [one.role for one in found.ranks] == ["head", "worker"]


@pytest.mark.parametrize("command", ["status", "doctor", "top", "logs", "record", "bench"])
def test_a_name_that_is_nearly_right(
    api: StubApi, cluster: Cluster, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    put_service(api, "llama")
    assert run([command, "lama"]) == ExitCode.NOT_SERVING
    assert "Did you mean llama?" in capsys.readouterr().err


def test_without_the_right_to_list_pods_its_controller_is_believed(
    api: StubApi, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    put_service(api)
    api.refuse("GET", "/pods\\?", 403, status(403, "is forbidden", "Forbidden"))
    (found,) = look(cluster, "llm")
    assert (found.serving, found.state, found.ranks) == (True, "serving", ())
    assert run(["doctor", "llm"]) == ExitCode.OK
    told = capsys.readouterr().out
    assert told.startswith("InferenceService demo/llm: nothing wrong that its controller reports.\n")
    assert "may not list pods" in told
    assert run(["logs", "llm"]) == ExitCode.OK
    assert "may not list pods" in capsys.readouterr().err
    api.put(with_status(service()))
    (found,) = look(cluster, "llm")
    assert (found.serving, found.state, found.reason) == (False, "not ready", "its pods cannot be seen")
    assert run(["doctor", "llm"]) == ExitCode.NOT_SERVING
    assert "does not serve yet: its pods cannot be seen." in capsys.readouterr().out


def test_top_of_many_is_a_line_each(
    api: StubApi, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        put_service(api, f"llm-{number:02}", ready=number != 7)
    assert run(["top", "--once", "--interval", "0.2"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:21]] == [f"llm-{number:02}" for number in range(20)]
    assert len([line for line in lines if "not seen: " in line]) == 1
    assert [line.split()[0] for line in lines if ": ranks" in line] == ["llm-07:"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param("/pods\\?", "may not list pods", id="pods"),
        pytest.param("/events\\?", "may not list events", id="events"),
        pytest.param("/proxy/status", "may not get pods/proxy", id="supervisors"),
    ],
)
def test_what_this_login_may_not_see_is_named(api: StubApi, cluster: Cluster, path: str, words: str) -> None:
    put_service(api)
    api.refuse("GET", path, 403, status(403, "is forbidden", "Forbidden"))
    (found,) = look(cluster, "llm")
    assert any(words in sentence for sentence in found.unseen)
    assert any("not seen: " in line for line in screen(found, 0.0))


def test_a_head_that_does_not_answer_is_told_from_its_pod(api: StubApi, cluster: Cluster) -> None:
    put_service(api)
    api.heads.clear()
    api.metrics.clear()
    (found,) = look(cluster, "llm")
    assert (found.state, found.nodes, found.engines) == ("serving", None, ())
    assert [one.state for one in found.ranks] == ["ready", "ready"]


def test_a_pod_that_cannot_be_scheduled_is_the_reason(api: StubApi, cluster: Cluster) -> None:
    api.put(with_status(service()))
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    api.put(pod(conditions=[{"type": "PodScheduled", "status": "False", "message": message}]))
    (found,) = look(cluster, "llm")
    assert found.state == "unschedulable"
    assert "3 Insufficient nvidia.com/gpu" in found.reason


def test_a_leader_worker_set(api: StubApi, cluster: Cluster) -> None:
    body = with_status(leader_worker_set())
    body["status"]["conditions"] = [{"type": "Available", "status": "True"}]
    body["status"] |= {"readyReplicas": 1, "updatedReplicas": 1}
    api.put(body)
    leader = running("llm-0")
    leader["metadata"]["labels"] = {
        "leaderworkerset.sigs.k8s.io/name": "llm", "leaderworkerset.sigs.k8s.io/worker-index": "0",
    }  # fmt: skip
    api.put(leader)
    api.heads["llm-0:8081"] = says()
    (found,) = look(cluster, "llm")
    assert (found.kind, found.serving, found.state) == ("LeaderWorkerSet", True, "serving")


def test_command_line(api: StubApi, kubeconfig: object, capsys: pytest.CaptureFixture[str]) -> None:
    put_service(api)
    put_service(api, "other", says_this=says("forming", "1 of 2"), ready=False)
    assert run(["status", "llm"]) == ExitCode.OK
    assert "InferenceService demo/llm: serving" in capsys.readouterr().out
    assert run(["status"]) == ExitCode.OK
    assert "other: 1 of 2" in capsys.readouterr().out
    assert run(["status", "-o", "json"]) == ExitCode.OK
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["llm", "other"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["nobody"], ExitCode.NOT_SERVING, "there is no InferenceService", id="unknown-name"),
        pytest.param(["-n", "elsewhere"], ExitCode.NOT_SERVING, "namespace elsewhere", id="empty-namespace"),
        pytest.param(["-w", "-o", "json"], ExitCode.USAGE, "--watch draws text", id="watch-json"),
        pytest.param(["--local", "-n", "x"], ExitCode.USAGE, "-n is for clusters", id="local-namespace"),
        pytest.param(["--local", "-l", "a=b"], ExitCode.USAGE, "have no labels", id="local-label"),
    ],
)
def test_wrong_input(
    api: StubApi, kubeconfig: object, capsys: pytest.CaptureFixture[str],
    arguments: list[str], code: ExitCode, words: str,
) -> None:  # fmt: skip
    put_service(api)
    assert run(["status", *arguments]) == code
    assert words in capsys.readouterr().err


def test_labels_choose(api: StubApi, cluster: Cluster) -> None:
    put_service(api)
    put_service(api, "other")
    api.objects["inferenceservices", "demo", "other"]["metadata"]["labels"] = {"team": "a"}
    assert [one.name for one in look(cluster, labels="team=a")] == ["other"]


def test_events_of_others_are_not_a_reason(api: StubApi, cluster: Cluster) -> None:
    put_service(api)
    api.put(
        event("FailedMount", "no such secret", {"kind": "Pod", "metadata": {"name": "x", "uid": "other"}})
    )
    (found,) = look(cluster, "llm")
    assert found.reason == ""


def test_cells_and_words() -> None:
    assert table(("a", "b"), [("x", "1"), ("yyyy", "22")], right=(1,)) == ["a      b", "x      1", "yyyy  22"]
    assert folded("one " + "x" * 90, 20) == ["one", "    " + "x" * 90]
    assert folded("a-very-long-name and another-name-of-it", 20)[0] == "a-very-long-name and"

"""What a kustomize component adds, the spec can say: queue, monitoring, budget, pool, preferred nodes."""

from typing import Any

import pytest

from unit.authoring.render.test_places import at, service
from vllm_multinode.authoring.render import Target, render
from vllm_multinode.authoring.rules import validate
from vllm_multinode.authoring.spec import loads
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.platforms.releases import find

LEAST = "name: a\nmodel: {claim: x}\nparallelism: {tensor: 4, pipeline: 3}\n"
BOTH = pytest.mark.parametrize("target", ["kserve", "lws"])


def made(more: str, target: Target = "kserve") -> dict[tuple[str, str], dict[str, Any]]:
    found = render(loads(LEAST + more), target=target).documents
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def test_a_queue_admits_each_replica_s_group_together() -> None:
    objects = made("queue: gpus\nreplicas: 2\n")
    for name in ("a-0", "a-1"):
        meta = objects["InferenceService", name]["metadata"]
        assert meta["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
        assert meta["labels"]["kueue.x-k8s.io/pod-group-name"] == name
        assert meta["annotations"]["kueue.x-k8s.io/pod-group-total-count"] == "3"
        assert meta["annotations"]["kueue.x-k8s.io/pod-group-serving"] == "true"
    documents = from_text(to_yaml(list(objects.values())), "a.yaml")
    assert not [one for one in validate(documents, [find("kserve-0.19.0")]) if one.rule.startswith("queue")]


def test_kueue_knows_the_groups_of_a_leader_worker_set() -> None:
    meta = made("queue: gpus\n", "lws")["LeaderWorkerSet", "a"]["metadata"]
    assert {key: value for key, value in meta["labels"].items() if key.startswith("kueue")} == {
        "kueue.x-k8s.io/queue-name": "gpus"
    }
    assert not [key for key in meta.get("annotations", {}) if key.startswith("kueue")]


@BOTH
def test_monitoring_selects_head_and_everybody(target: Target) -> None:
    objects = made("namespace: demo\nmonitoring: true\n", target)
    head, everybody = objects["PodMonitor", "a"], objects["PodMonitor", "a-supervisor"]
    part_of = {"app.kubernetes.io/part-of": "a"}
    assert at(head, "spec.selector.matchLabels") == {**part_of, "app.kubernetes.io/component": "head"}
    assert at(everybody, "spec.selector.matchLabels") == part_of
    kept = at(everybody, "spec.podMetricsEndpoints.0.relabelings.0.regex").split("|")
    workload = next(
        one for (kind, _), one in objects.items() if kind in ("ServingRuntime", "LeaderWorkerSet")
    )
    path = "spec.leaderWorkerTemplate.{}.spec.containers.0.name"
    names = (
        [at(workload, path.format(one)) for one in ("leaderTemplate", "workerTemplate")]
        if target == "lws"
        else [at(workload, "spec.containers.0.name"), at(workload, "spec.workerSpec.containers.0.name")]
    )
    assert kept == names
    for kind in ("PodMonitor", "PrometheusRule", "ConfigMap"):
        assert {one["metadata"].get("namespace") for (of, _), one in objects.items() if of == kind} == {
            "demo"
        }


def test_what_is_not_asked_for_is_not_there() -> None:
    assert {kind for kind, _ in made("disruptionBudget: false\nnetwork: {policy: false}\n")} & {
        "PodDisruptionBudget",
        "NetworkPolicy",
        "PodMonitor",
    } == set()


@BOTH
def test_a_pool_and_nodes_that_are_preferred(target: Target) -> None:
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    }
    placement = {
        "pool": {"labels": {"pool": "a"}, "nodes": 2},
        "nodeSelector": {"zone": "b"},
        "preferredNodes": ["n1", "n2"],
        "affinity": affinity,
    }
    body = service({"placement": placement}, target)
    path = {"kserve": "spec.predictor.workerSpec", "lws": "spec.leaderWorkerTemplate.workerTemplate.spec"}
    pod = at(body, path[target])
    assert pod["nodeSelector"] == {"pool": "a", "zone": "b"}
    of_nodes = pod["affinity"]["nodeAffinity"]
    assert of_nodes.keys() > affinity["nodeAffinity"].keys()
    (term,) = of_nodes["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["preference"]["matchExpressions"][0]["values"] == ["n1", "n2"]


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        pytest.param(
            "placement: {pool: {labels: {p: a}, nodes: 2}}\n",
            "placement.pool.nodes",
            "needs 3 nodes, and the pool has 2",
            id="pool-too-small",
        ),
        pytest.param(
            "placement: {pool: {labels: {p: a}}, nodeSelector: {p: b}}\n",
            "placement.pool.labels",
            "keep one of them",
            id="pool-contradicts",
        ),
        pytest.param("placement: {pool: {labels: {}}}\n", "placement.pool.labels", "", id="pool-of-nothing"),
        pytest.param(
            "placement: {pool: {nodes: 2}}\n", "placement.pool.labels", "", id="pool-without-labels"
        ),
        pytest.param("queue: Not A Name\n", "queue", "Kubernetes", id="queue-name"),
        pytest.param(
            "queue: q\nlabels: {kueue.x-k8s.io/queue-name: other}\n", "labels", "keep one of them", id="twice"
        ),
    ],
)
def test_what_cannot_be_is_said(more: str, field: str, said: str) -> None:
    with pytest.raises(MultinodeError) as caught:
        loads(LEAST + more)
    assert field in str(caught.value)
    assert said in str(caught.value)

"""The pods of a LeaderWorkerSet."""

from typing import Any

from kserve_inputs import Body, gpus
from vllm_multinode.authoring.preview import Group, preview


def lws(*, size: int = 3, leader: bool = True, **spec: Any) -> Body:
    def template(role: str, count: int) -> Body:
        return {
            "spec": {"containers": [{"name": role, "image": "i:1", "args": [role], "resources": gpus(count)}]}
        }

    parts: Body = {"size": size, "workerTemplate": template("worker", 8)}
    if leader:
        parts["leaderTemplate"] = template("head", 4)
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "llm", "namespace": "ns"},
        "spec": {"leaderWorkerTemplate": parts, **spec},
    }


def group(**changes: Any) -> Group:
    (found,) = preview([lws(**changes)], "0.18.1").groups
    return found


def pods(found: Group) -> dict[str, Body]:
    return {one["metadata"]["name"]: one for one in found.objects if one["kind"] == "Pod"}


def environment(pod: Body) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod["spec"]["containers"][0]["env"]}


def test_names_gpus_and_environment_of_the_first_group() -> None:
    found = group(replicas=2)
    assert (found.nodes, found.replicas) == (3, 2)
    assert [(one.role, one.replicas, one.gpus) for one in found.roles] == [("head", 1, 4), ("worker", 2, 8)]
    made = pods(found)
    assert list(made) == ["llm-0", "llm-0-1", "llm-0-2"]
    assert environment(made["llm-0-2"]) == {
        "LWS_LEADER_ADDRESS": "llm-0.llm.ns",
        "LWS_GROUP_SIZE": "3",
        "LWS_WORKER_INDEX": "2",
    }


def test_a_domain_for_each_group() -> None:
    found = group(networkConfig={"subdomainPolicy": "UniquePerReplica"})
    assert environment(pods(found)["llm-0"])["LWS_LEADER_ADDRESS"] == "llm-0.llm-0.ns"
    assert "llm-0" in {one["metadata"]["name"] for one in found.objects if one["kind"] == "Service"}


def test_without_a_leader_template_the_worker_template_leads() -> None:
    assert [role.gpus for role in group(leader=False).roles] == [8, 8]


def test_a_group_of_one_has_no_workers() -> None:
    assert [role.role for role in group(size=1).roles] == ["head"]


def test_its_own_variables_come_first_and_win() -> None:
    body = lws()
    container = body["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["containers"][0]
    container["env"] = [{"name": "A", "value": "1"}, {"name": "LWS_GROUP_SIZE", "value": "9"}]
    (found,) = preview([body], "0.18.1").groups
    names = [one["name"] for one in pods(found)["llm-0-1"]["spec"]["containers"][0]["env"]]
    assert names == ["LWS_LEADER_ADDRESS", "LWS_GROUP_SIZE", "LWS_WORKER_INDEX", "A"]

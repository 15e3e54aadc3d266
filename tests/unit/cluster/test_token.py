"""The group's token is made once, on the cluster."""

import base64
from typing import Any

from unit.cluster.stub_api import StubApi, status
from vllm_multinode.authoring.render import Target, render
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.token import with_tokens


def bodies(target: Target = "kserve", **fields: Any) -> list[dict[str, Any]]:
    spec = {"name": "llm", "model": {"claim": "x"}, "parallelism": {"pipeline": 2}, **fields}
    return render(DeploymentSpec.model_validate(spec), target=target).documents


def made(cluster: Cluster, given: list[dict[str, Any]]) -> list[Any]:
    assert not [body for body in given if body["kind"] == "Secret" and "data" in body], "no file holds it"
    return [body for body in with_tokens(cluster, given) if body["kind"] == "Secret"]


def put(api: StubApi, **metadata: Any) -> None:
    data = {"token": base64.b64encode(b"x" * 32).decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "llm-token", **metadata}}
    api.put(body | {"data": data})


def test_it_is_random_and_long(cluster: Cluster) -> None:
    tokens = {base64.b64decode(made(cluster, bodies())[0]["data"]["token"]) for _ in range(2)}
    assert {len(token) for token in tokens} == {64}
    assert len(tokens) == 2


def test_a_leader_worker_set_has_one_too(cluster: Cluster) -> None:
    (secret,) = made(cluster, bodies("lws"))
    assert secret["metadata"]["name"] == "llm-token"


def test_an_earlier_one_stays(api: StubApi, cluster: Cluster) -> None:
    put(api, labels={"app.kubernetes.io/managed-by": "vllm-multinode"})
    (secret,) = made(cluster, bodies())
    assert base64.b64decode(secret["data"]["token"]) == b"x" * 32


def test_somebody_else_s_is_left_alone(api: StubApi, cluster: Cluster) -> None:
    put(api)
    assert made(cluster, bodies()) == []


def test_none_where_none_is_wanted(cluster: Cluster) -> None:
    assert made(cluster, bodies(tokenSecret=False)) == []


def test_who_may_not_read_secrets_leaves_it_to_the_job(api: StubApi, cluster: Cluster) -> None:
    api.refuse("GET", "/secrets", 403, status(403, "secrets is forbidden", "Forbidden"))
    given = bodies()
    assert with_tokens(cluster, given) == given
    assert "Job" in {body["kind"] for body in given}


def test_what_is_filled_here_needs_no_job_and_no_rights(cluster: Cluster) -> None:
    given = bodies(publish="ingress")
    kinds = [body["kind"] for body in with_tokens(cluster, given)]
    assert not {"Job", "Role", "RoleBinding", "ServiceAccount"} & set(kinds)
    assert {body["metadata"]["name"]: list(body["data"]) for body in made(cluster, given)} == {
        "llm-token": ["token"],
        "llm-api-key": ["api-key"],
    }


def test_an_empty_one_of_ours_is_filled_and_keeps_what_else_it_holds(api: StubApi, cluster: Cluster) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "llm-token"}, "data": {"mine": "eA=="}}
    body["metadata"] = {"name": "llm-token", "labels": {"app.kubernetes.io/managed-by": "vllm-multinode"}}
    api.put(body)
    (secret,) = made(cluster, bodies())
    assert secret["data"].keys() == {"mine", "token"}

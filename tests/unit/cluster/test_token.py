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
    assert not [body for body in given if body["kind"] == "Secret"], "no file holds it"
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


def test_who_may_not_read_secrets_makes_none(api: StubApi, cluster: Cluster) -> None:
    api.refuse("GET", "/secrets", 403, status(403, "secrets is forbidden", "Forbidden"))
    assert made(cluster, bodies()) == []

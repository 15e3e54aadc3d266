"""Pods that are not admitted, and quotas that do not hold them, are one line before anything is written."""

import json
from typing import Any

import pytest

from unit.cluster.stub_api import Refusal, StubApi, status
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cluster import pods_needed
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.releases import DEFAULT

SPEC = {
    "name": "llm",
    "model": {"source": "hf://org/llm", "size": "10Gi"},
    "parallelism": {"tensor": 8, "pipeline": 2},
    "resources": {"cpu": "8", "memory": "100Gi"},
}


def documents(**more: Any) -> list[Document]:
    rendered = render(DeploymentSpec.model_validate(SPEC | more))
    return [Document("-", place, body) for place, body in enumerate(rendered.documents)]


def quota(api: StubApi, hard: dict[str, str], used: dict[str, str] | None = None) -> None:
    api.put(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "team"},
            "spec": {"hard": hard},
            "status": {"hard": hard, "used": used or {}},
        }
    )


def test_all_pods_of_a_service_are_known() -> None:
    found = {one.owner: one.count for one in pods_needed.pods_of(documents(), DEFAULT)}
    assert found["InferenceService llm, head"] == 1
    assert found["InferenceService llm, worker"] == 1
    assert sum(owner.startswith("Job llm-fetch-") for owner in found) == 1


def test_what_is_admitted_and_held_passes(api: StubApi, cluster: Cluster) -> None:
    hard = {
        "requests.cpu": "17",
        "requests.memory": "300Gi",
        "pods": "10",
        "persistentvolumeclaims": "1",
        "requests.nvidia.com/gpu": "16",
    }
    quota(api, hard)
    pods_needed.check(cluster, documents(), DEFAULT)
    assert api.written() == []


@pytest.mark.parametrize(
    ("hard", "used", "says"),
    [
        pytest.param({"requests.nvidia.com/gpu": "16"}, {"requests.nvidia.com/gpu": "8"},
                     "requests.nvidia.com/gpu: 16 needed, 8 left", id="gpus"),
        pytest.param({"memory": "150Gi"}, {}, "memory: 200Gi needed, 150Gi left", id="memory"),
        pytest.param({"pods": "1"}, {}, "pods: 2 needed, 1 left", id="pods"),
        pytest.param({"requests.storage": "5Gi"}, {},
                     "requests.storage: 11Gi needed, 5Gi left", id="storage"),
        pytest.param({"persistentvolumeclaims": "3"}, {"persistentvolumeclaims": "3"},
                     "persistentvolumeclaims: 1 needed, 0 left", id="claims"),
    ],
)  # fmt: skip
def test_a_quota_that_is_too_small(
    hard: dict[str, str], used: dict[str, str], says: str, api: StubApi, cluster: Cluster
) -> None:
    quota(api, hard, used)
    with pytest.raises(MultinodeError) as refused:
        pods_needed.check(cluster, documents(), DEFAULT)
    assert refused.value.code is ExitCode.MISSING
    assert refused.value.where == "ResourceQuota demo/team"
    assert says in refused.value.what
    assert api.written() == []


def test_a_service_that_is_there_holds_its_own_part(api: StubApi, cluster: Cluster) -> None:
    quota(api, {"pods": "2"}, {"pods": "2"})
    api.put(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "llm"},
        }
    )
    pods_needed.check(cluster, documents(), DEFAULT)


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        pytest.param(
            'pods "x" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities',
            ExitCode.WILL_NOT_SERVE,
            "unrestricted capabilities",
            id="pod-security",
        ),
        pytest.param(
            'pods "x" is forbidden: failed quota: team: must specify limits.memory for: vllm',
            ExitCode.WILL_NOT_SERVE,
            "must specify limits.memory",
            id="quota-wants-limits",
        ),
        pytest.param(
            'pods "x" is forbidden: exceeded quota: team, requested: cpu=8, used: cpu=1, limited: cpu=4',
            ExitCode.MISSING,
            "exceeded quota: team",
            id="quota",
        ),
        pytest.param(
            'pods "x" is forbidden: no PriorityClass with name urgent was found',
            ExitCode.WILL_NOT_SERVE,
            "no PriorityClass with name urgent",
            id="priority",
        ),
    ],
)
def test_pods_that_are_not_admitted(
    message: str, code: ExitCode, says: str, api: StubApi, cluster: Cluster
) -> None:
    body = json.dumps(status(403, message, "Forbidden")).encode()
    api.refusals.append(Refusal("PATCH", "/pods/", 403, body))
    with pytest.raises(MultinodeError) as refused:
        pods_needed.check(cluster, documents(), DEFAULT)
    assert refused.value.code is code
    assert says in refused.value.what
    assert "Nothing was written" in refused.value.what
    assert refused.value.where.startswith("pod of ")


def test_a_field_that_the_api_refuses_is_told_of_the_object_that_it_comes_from(
    api: StubApi, cluster: Cluster
) -> None:
    message = 'Pod "x" is invalid: spec.containers[0].image: Required value'
    api.refusals.append(Refusal("PATCH", "/pods/", 422, json.dumps(status(422, message, "Invalid")).encode()))
    pods_needed.check(cluster, documents(), DEFAULT)


def test_who_may_not_make_pods_may_still_have_them_made(api: StubApi, cluster: Cluster) -> None:
    message = 'pods "x" is forbidden: User "ada" cannot patch resource "pods" in API group "" in demo'
    api.refusals.append(
        Refusal("PATCH", "/pods/", 403, json.dumps(status(403, message, "Forbidden")).encode())
    )
    pods_needed.check(cluster, documents(), DEFAULT)

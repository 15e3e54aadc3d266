"""The router before several replicas: waited for after the heads, with its own reason if it does not come."""

import threading
from typing import Any

import pytest

from unit.cluster.stub_api import StubApi
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.render.router import is_router
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.deploy import Deployment, deploy
from vllm_multinode.cluster.patience import await_object
from vllm_multinode.cluster.routers import ready_router, routers_of
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

pytestmark = pytest.mark.usefixtures("impatient")
Object = dict[str, Any]


def documents() -> list[Object]:
    """What three replicas are rendered as."""
    fields = {"name": "llm", "model": {"claim": "x"}, "parallelism": {"pipeline": 2}, "replicas": 3}
    return render(DeploymentSpec.model_validate(fields)).documents


def router(**status: int) -> Object:
    (body,) = [one for one in documents() if is_router(one)]
    body["metadata"] = {**body["metadata"], "generation": 2}
    return {**body, "status": status}


def pod(**container: Any) -> Object:
    labels = router()["spec"]["template"]["metadata"]["labels"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "llm-router-x", "labels": labels},
        "spec": {},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "router", **container}]},
    }


def ready() -> Object:
    return router(observedGeneration=2, availableReplicas=2, updatedReplicas=2)


def test_the_routers_of_a_deployment_are_found(api: StubApi, cluster: Cluster) -> None:
    deploy(cluster, Deployment("llm", documents()))
    assert routers_of(cluster, "llm") == ["llm-router"]
    assert routers_of(cluster, "another") == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param({}, "0 of 2", id="not-taken-up"),
        pytest.param(
            {"observedGeneration": 1, "availableReplicas": 2, "updatedReplicas": 2}, "0 of 2", id="of-before"
        ),
        pytest.param(
            {"observedGeneration": 2, "availableReplicas": 1, "updatedReplicas": 2}, "1 of 2", id="one-of-two"
        ),
        pytest.param(
            {"observedGeneration": 2, "availableReplicas": 2, "updatedReplicas": 1}, "1 of 2", id="rolling"
        ),
    ],
)
def test_it_ends_when_all_of_its_pods_are_ready(
    api: StubApi, cluster: Cluster, status: dict[str, int], words: str
) -> None:
    api.put(router(**status))
    shown: list[str] = []

    def show(line: str) -> None:
        shown.append(line)
        threading.Timer(0.1, lambda: api.put(ready())).start()

    await_object(ready_router(cluster, "llm-router"), timeout=30, show=show, poll=0.01)
    assert shown == [f"the router has {words} pods ready (none is there yet)"]


@pytest.mark.parametrize(
    ("state", "timeout", "says"),
    [
        pytest.param(
            {"waiting": {"reason": "InvalidImageName", "message": "no such image"}},
            30.0,
            "llm-router-x: cannot pull the image .*: no such image",
            id="image",
        ),
        pytest.param({"running": {}}, 0.1, r"is not ready after 0.1 s: the router has 0 of 2", id="late"),
    ],
)
def test_it_says_why_it_does_not_come(
    api: StubApi, cluster: Cluster, state: Object, timeout: float, says: str
) -> None:
    api.put(router())
    api.put(pod(state=state))
    with pytest.raises(MultinodeError, match=says) as caught:
        await_object(ready_router(cluster, "llm-router"), timeout=timeout, show=print, poll=0.01)
    assert caught.value.code == ExitCode.NOT_SERVING


def test_one_that_is_deleted_meanwhile_is_told(cluster: Cluster) -> None:
    with pytest.raises(MultinodeError, match="is gone"):
        await_object(ready_router(cluster, "llm-router"), timeout=30, show=print, poll=0.01)

"""What delete takes away, what it keeps, and how long it waits."""

import copy

import pytest

from unit.cluster.objects import claim, pod, runtime, service
from unit.cluster.stub_api import StubApi, status
from vllm_multinode.cluster import delete as deleting
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.delete import Deleted
from vllm_multinode.cluster.deploy import Deployment, deploy
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


@pytest.fixture
def deployed(api: StubApi, cluster: Cluster) -> Cluster:
    """A deployment of claim, runtime and service, beside somebody else's ConfigMap."""
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}})
    deploy(cluster, Deployment(name="llm", bodies=[service(), runtime(), claim()]))
    return cluster


def run(cluster: Cluster, name: str = "llm", *, claim: bool = False, timeout: float = 10) -> Deleted:
    return deleting.delete(cluster, deleting.of_name(cluster, name), name, claim=claim, timeout=timeout)


def test_ours_and_nothing_else(api: StubApi, deployed: Cluster) -> None:
    deleted = run(deployed)
    assert deleted.gone == ["InferenceService demo/llm", "ServingRuntime demo/vllm-multinode-ray"]
    assert deleted.kept == [
        ("PersistentVolumeClaim demo/models", "it holds the model; --claim deletes it too")
    ]
    assert {key[2] for key in api.objects} == {"demo", "models", "theirs"}


def test_the_claim_where_asked_for(api: StubApi, deployed: Cluster) -> None:
    assert run(deployed, claim=True).kept == []
    assert api.get("persistentvolumeclaims", "models") is None


def test_a_second_time_there_is_nothing(api: StubApi, deployed: Cluster) -> None:
    run(deployed, claim=True)
    assert run(deployed) == Deleted()


def test_a_shared_runtime_is_kept_until_its_last_user_goes(api: StubApi, deployed: Cluster) -> None:
    deploy(deployed, Deployment(name="other", bodies=[runtime(), service("other")]))
    assert ("ServingRuntime demo/vllm-multinode-ray", "demo/other uses it too") in run(deployed).kept
    shared = api.get("servingruntimes", "vllm-multinode-ray")
    assert shared is not None
    assert shared["metadata"]["annotations"]["vllm-multinode/deployments"] == "demo/other"
    assert "ServingRuntime demo/vllm-multinode-ray" in run(deployed, "other").gone


def test_a_runtime_that_somebody_elses_service_uses_is_kept(api: StubApi, deployed: Cluster) -> None:
    api.put({**service("theirs"), "metadata": {"name": "theirs"}})
    assert ("ServingRuntime demo/vllm-multinode-ray", "InferenceService theirs uses it") in run(deployed).kept


def test_by_files_only_what_is_ours(api: StubApi, deployed: Cluster) -> None:
    api.put({**service("theirs"), "metadata": {"name": "theirs", "managedFields": [{"manager": "kubectl"}]}})
    bodies = [service(), service("theirs"), service("nowhere")]
    marked = deleting.of_bodies(deployed, copy.deepcopy(bodies))
    deleted = deleting.delete(deployed, marked, "llm", timeout=10)
    assert deleted.gone == ["InferenceService demo/llm"]
    assert deleted.kept == [
        ("InferenceService demo/theirs", "it is not part of demo/llm, but was created by kubectl")
    ]


def test_an_object_made_again_meanwhile_is_left(api: StubApi, deployed: Cluster) -> None:
    deleting.delete(deployed, deleting.of_name(deployed, "llm"), "llm", timeout=10)
    sent = [body for method, path, _, body in api.requests if method == "DELETE" and "llm" in path]
    assert b'"preconditions": {"uid": "uid-' in sent[0]


@pytest.mark.parametrize(
    ("left", "words"),
    [
        pytest.param(
            "finalizer", r"InferenceService demo/llm \(held by inferenceservice.finalizers\)", id="finalizer"
        ),
        pytest.param("pod", "pods llm-predictor-0", id="pod"),
    ],
)
def test_what_does_not_go_is_named(api: StubApi, deployed: Cluster, left: str, words: str) -> None:
    if left == "pod":
        api.put(pod())
    else:
        api.objects["inferenceservices", "demo", "llm"]["metadata"]["finalizers"] = [
            "inferenceservice.finalizers"
        ]
    with pytest.raises(MultinodeError, match=words) as raised:
        run(deployed, timeout=0.2)
    assert raised.value.code == ExitCode.NOT_SERVING


def test_what_a_controller_made_is_not_listed(api: StubApi, deployed: Cluster) -> None:
    """KServe copies a service's labels and annotations to its Deployments and Services."""
    marks = copy.deepcopy(api.objects["inferenceservices", "demo", "llm"]["metadata"])
    owner = {"kind": "InferenceService", "name": "llm", "controller": True}
    metadata = {"name": "llm-predictor", "ownerReferences": [owner]}
    metadata |= {key: marks[key] for key in ("labels", "annotations")}
    api.put({"apiVersion": "v1", "kind": "Service", "metadata": metadata})
    assert [item.resource.kind for item in deleting.of_name(deployed, "llm").items] == [
        "InferenceService",
        "ServingRuntime",
        "PersistentVolumeClaim",
    ]


def forbid(api: StubApi, plural: str) -> None:
    api.refuse("GET", f"/{plural}", 403, status(403, f"{plural} is forbidden", "Forbidden"))


def test_services_that_may_not_be_listed_are_not_called_absent(api: StubApi, deployed: Cluster) -> None:
    forbid(api, "inferenceservices")
    with pytest.raises(
        MultinodeError, match=r"may not list inferenceservices\.serving\.kserve\.io"
    ) as refused:
        run(deployed)
    assert refused.value.code == ExitCode.FORBIDDEN
    assert not [path for method, path, _, _ in api.requests if method == "DELETE"]


def test_other_kinds_that_may_not_be_listed_are_named(api: StubApi, deployed: Cluster) -> None:
    for plural in ("networkpolicies", "secrets", "clusterservingruntimes"):
        forbid(api, plural)
    deleted = run(deployed)
    assert "InferenceService demo/llm" in deleted.gone
    assert deleted.unlisted == ["NetworkPolicy", "Secret"]


def test_a_runtime_is_kept_where_its_users_may_not_be_listed(api: StubApi, deployed: Cluster) -> None:
    forbid(api, "inferenceservices")
    marked = deleting.of_bodies(deployed, [runtime()])
    (kept,) = deleting.delete(deployed, marked, "llm", timeout=10).kept
    assert kept[0] == "ServingRuntime demo/vllm-multinode-ray"
    assert "an InferenceService may use it: " in kept[1]

"""What an update changes, which pods it replaces, and the GPUs that it takes meanwhile."""

from typing import Any

import pytest

from kserve_inputs import Body, gpus, runtime, service
from vllm_multinode.authoring.preview.update import Update, surge, updates
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.releases import find

FOUR: Body = {
    "model": {"resources": gpus(4)},
    "worker": {
        "tensorParallelSize": 4,
        "pipelineParallelSize": 3,
        "containers": [{"name": "worker-container", "resources": gpus(4)}],
    },
}


def documents(*bodies: Body) -> list[Document]:
    return [Document("f", place, body) for place, body in enumerate(bodies)]


def change(before: Body, after: Body, **options: Any) -> Update:
    _, (found,) = updates(
        documents(runtime(), before), documents(runtime(), after), find("0.18.1"), **options
    )
    return found


def four(**changes: Any) -> Body:
    return service(**{**FOUR, **changes})


def test_nothing_changes() -> None:
    found = change(four(), four(), generation=3)
    assert found.what == "unchanged"
    assert found.generations == (3, 3)
    assert found.rollouts == ()
    assert found.more_gpus == 0


def test_a_rolling_update_needs_a_second_set_of_gpus() -> None:
    found = change(four(), four(model={**FOUR["model"], "args": ["--seed=1"]}), generation=3)
    assert found.generations == (3, 4)
    assert found.gpus == (12, 12)
    assert [(one.role, one.running, one.surge, one.gpus) for one in found.rollouts] == [
        ("head", 1, 1, 4),
        ("worker", 2, 2, 8),
    ]
    assert found.more_gpus == 12
    paths = {one.path for one in found.differences if one.kind == "Deployment"}
    assert "spec.template.spec.containers[kserve-container].args" in paths
    assert "spec.template.spec.containers[worker-container].env[HEAD_SVC].value" in paths


def test_recreate_needs_none() -> None:
    how = {"deploymentStrategy": {"type": "Recreate"}}
    found = change(four(**how), four(**how, terminationGracePeriodSeconds=60))
    assert [one.strategy for one in found.rollouts] == ["Recreate", "Recreate"]
    assert found.more_gpus == 0


def test_the_strategy_that_comes_with_the_update_holds_for_it() -> None:
    assert change(four(), four(deploymentStrategy={"type": "Recreate"})).more_gpus == 0


def test_a_label_alone_replaces_pods_and_keeps_the_generation() -> None:
    after = four()
    after["metadata"]["labels"] = {"team": "ml"}
    found = change(four(), after, generation=2)
    assert found.generations == (2, 2)
    assert len(found.rollouts) == 2
    assert {one.kind for one in found.differences} == {"Deployment", "Service"}


def test_a_changed_runtime_keeps_the_generation() -> None:
    before, after = [runtime(), four()], [runtime(worker={"image": "new:2"}), four()]
    _, (found,) = updates(documents(*before), documents(*after), find("0.18.1"))
    assert found.generations == (1, 1)
    assert [one.role for one in found.rollouts] == ["worker"]


def test_more_nodes_take_their_own_gpus_and_the_surge() -> None:
    wider = {**FOUR["worker"], "pipelineParallelSize": 4}
    found = change(four(), four(worker=wider))
    assert found.gpus == (12, 16)
    assert found.more_gpus == 4 + 3 * 4


def test_services_come_and_go() -> None:
    _, found = updates(
        documents(runtime(), four()), documents(runtime(), service(name="other")), find("0.18.1")
    )
    assert [(one.name, one.what) for one in found] == [("llm", "deleted"), ("other", "made")]


@pytest.mark.parametrize(
    ("replicas", "how", "pods"),
    [
        (1, {"type": "Recreate"}, 0),
        (1, {"type": "RollingUpdate"}, 1),
        (8, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}, 2),
        (3, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%"}}, 3),
        (3, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}}, 0),
        (0, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%"}}, 0),
    ],
)
def test_surge(replicas: int, how: Body, pods: int) -> None:
    assert surge(replicas, how) == pods

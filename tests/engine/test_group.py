"""Who belongs to a group, and with which rank; the engine is a stand-in."""

from pathlib import Path
from typing import Any, get_args

import pytest

from engine.conftest import Start
from engine.services import eventually, service
from engine.stand_ins import StandIns, changed, value
from vllm_multinode.contract import env as names
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.local.world.pod_spec import PodSpec
from vllm_multinode.local.world.protocol import Families
from vllm_multinode.platforms.releases import DEFAULT

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("families", get_args(Families))
@pytest.mark.parametrize("executor", ["mp", "ray"])
def test_two_nodes_form_and_serve(
    start: Start, stand_ins: StandIns, made_model: Path, executor: ExecutorName, families: Families
) -> None:
    local = service(made_model, executor=executor, args=("--seed", "7"))
    group = start(stand_ins.pods(local), families=families)
    status = group.wait_until_serving(epoch=1)
    # What the downward API tells a pod is the address of the cluster's first family.
    assert all((":" in member["address"]) is (families == "ipv6") for member in status["members"])
    assert [member["rank"] for member in status["members"]] == [0, 1]
    assert [member["name"] for member in status["members"]] == [node.pod for node in group.nodes]
    assert group.status("worker-1")["rank"] == 1
    assert group.ask().fingerprint == "stand-in-tp1-pp2"
    # What KServe appends is for every rank's vLLM.
    assert value(stand_ins.starts("head")[0], "--seed") == "7"
    workers = stand_ins.starts("worker-1")
    if executor == "ray":
        assert not workers
    else:
        assert "--headless" in workers[0]
        assert value(workers[0], "--seed") == "7"


def test_ranks_belong_to_members_and_not_to_positions(
    start: Start, stand_ins: StandIns, made_model: Path
) -> None:
    group = start(stand_ins.pods(service(made_model, nodes=4)))
    before = ranks(group.wait_until_serving(epoch=1))
    assert sorted(before.values()) == [0, 1, 2, 3]
    gone = group.node("worker-2").pod
    group.act("replace", "worker-2")
    after = ranks(group.wait_until_serving(epoch=2))
    assert after.pop(group.node("worker-2").pod) == before.pop(gone)
    assert after == before
    for node in ("head", "worker-1", "worker-2", "worker-3"):
        first, second = stand_ins.starts(node)
        assert value(first, "--nnodes") == value(second, "--nnodes") == "4"
        assert value(first, "--node-rank") == value(second, "--node-rank")
        assert value(second, "--node-rank") == str(group.status(node)["rank"])


def ranks(status: dict[str, Any]) -> dict[str, int]:
    return {member["name"]: member["rank"] for member in status["members"]}


def lws(pod: PodSpec) -> PodSpec:
    """What LeaderWorkerSet tells a pod instead of KServe, and our own manifest besides."""
    told = {names.LWS_LEADER_ADDRESS: "llm-head-1.default.svc", names.LWS_GROUP_SIZE: "2"}
    if pod.role == "head":
        told |= {names.TENSOR_PARALLEL_SIZE: "1", names.PIPELINE_PARALLEL_SIZE: "2"}
    own = {name: value for name, value in pod.env.items() if name not in names.KSERVE | {names.GENERATION}}
    return pod.model_copy(update={"env": own | told})


@pytest.mark.parametrize("told_by", ["0.15.0", "0.17.1", "0.20.0", "lws"])
def test_each_environment_is_enough(
    start: Start, stand_ins: StandIns, made_model: Path, told_by: str
) -> None:
    version = DEFAULT.number if told_by == "lws" else told_by
    pods = stand_ins.pods(service(made_model, version=version))
    if told_by == "lws":
        pods = [lws(pod) for pod in pods]
    # Before v0.18 a worker is told no sizes.
    assert (names.TENSOR_PARALLEL_SIZE in pods[1].env) == (told_by == "0.20.0")
    group = start(pods)
    group.wait_until_serving(epoch=1)
    assert value(stand_ins.starts("worker-1")[0], "--pipeline-parallel-size") == "2"


@pytest.mark.parametrize("executor", ["mp", "ray"])
def test_one_node_serves_alone(
    start: Start, stand_ins: StandIns, made_model: Path, executor: ExecutorName
) -> None:
    group = start(stand_ins.pods(service(made_model, executor=executor, nodes=1, tp=2)))
    status = group.wait_until_serving(epoch=1)
    assert (status["nodes"], len(status["members"])) == (1, 1)
    assert "forming" not in [change["state"] for change in status["history"]]
    assert "--nnodes" not in stand_ins.starts("head")[0]
    assert group.ask().fingerprint == "stand-in-tp2-pp1"


def test_generations_stay_apart(start: Start, stand_ins: StandIns, made_model: Path) -> None:
    head, worker = stand_ins.pods(service(made_model, generation=1))
    new_head, new_worker = stand_ins.pods(service(made_model, generation=2), suffix="-new")
    # The new worker's resolver is behind: the new head's name still leads to the old head.
    head = head.model_copy(update={"services": head.services + new_head.services})
    group = start([head, new_worker], later=["worker-1", "head-new"])
    stray = group.node("worker-1-new").pod
    refused = eventually(lambda: str(group.status().get("refused", "")), why=group.shown)
    assert stray in refused
    assert "generation 2, not 1" in refused
    group.add(worker)
    status = group.wait_until_serving(epoch=1)
    assert stray not in ranks(status)
    # Both are there for a while, as in a rolling update, and the name leads to both heads.
    group.add(new_head)
    assert stray in ranks(group.wait_for("serving", "head-new", epoch=1))
    assert group.status()["epoch"] == 1
    assert group.node("worker-1-new").restarts == 0


def test_a_stale_worker_is_not_taken_back_into_its_place(
    start: Start, stand_ins: StandIns, made_model: Path
) -> None:
    head, worker = stand_ins.pods(service(made_model))
    spare = changed(worker, STAND_IN_NODE="spare").model_copy(update={"node": "spare"})
    group = start([head, worker], later=["spare"])
    group.wait_until_serving(epoch=1)
    group.act("freeze", "worker-1")
    group.wait_for("recovering")
    group.add(spare)
    group.wait_until_serving(epoch=2)
    assert group.processes("worker-1", "vllm_stand_in")
    group.act("thaw", "worker-1")
    eventually(
        lambda: "all 2 places are taken" in group.status("worker-1").get("reason", ""), why=group.shown
    )
    assert group.status("worker-1")["rank"] is None
    assert group.ready("worker-1") == 503
    assert group.processes("worker-1", "vllm_stand_in") == []
    status = group.status()
    assert (status["state"], status["epoch"], status["recoveries"]) == ("serving", 2, 1)
    assert ranks(status)[group.node("spare").pod] == 1

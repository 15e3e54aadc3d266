"""The real engine over local nodes: the same greedy completions for every split, after a recovery too."""

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engine.conftest import Start, Step
from engine.services import LocalGroup, eventually, open_group, service
from vllm_multinode.contract.kserve import MODEL_MOUNT
from vllm_multinode.launcher.commands import cpu
from vllm_multinode.launcher.identity import installed_versions
from vllm_multinode.local.run import isvc
from vllm_multinode.local.world.pod_spec import HostMount, PodSpec

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("vllm") is None, reason="no vLLM here; `multinode local install` installs it"
    ),
]

PATIENCE = 300.0
"""Seconds that a start of the engine may take on a slow machine; some 15 s under mp and 30 s under Ray."""
TOKENS = 48
PROMPTS = ("Once upon a time there was", "The pipeline is", "One two three")
FLOAT32 = ("--dtype", "float32")
"""The one type in which sums come out the same however they are divided."""


def pods(model: Path, **what: Any) -> list[PodSpec]:
    local = service(model, args=FLOAT32, **{"env": {"MULTINODE_BACKOFF": "0"}, **what})
    return list(isvc.pods(local, isvc.cache_directory()))


def completions(group: LocalGroup) -> list[str]:
    return [group.ask(prompt, TOKENS).text for prompt in PROMPTS]


@pytest.fixture(scope="module")
def reference(made_model: Path, tmp_path_factory: pytest.TempPathFactory, step: Step) -> list[str]:
    """What plain `vllm serve` answers: one process of the model, no supervisor and no plugin of ours."""
    (pod,) = pods(made_model, nodes=1)
    metadata = tmp_path_factory.mktemp("metadata")
    cpu.write_vllm_metadata(metadata)
    lean = [word for option in cpu.default_arguments(installed_versions().vllm).items() for word in option]
    program = str(Path(sys.executable).parent / "vllm")
    plain = pod.model_copy(
        update={
            "argv": (program, "serve", MODEL_MOUNT, "--port", "8080", *FLOAT32, *lean),
            "mounts": (*pod.mounts, HostMount(source=metadata, target=Path("/opt/metadata"))),
            "env": {
                **pod.env,
                "PYTHONPATH": "/opt/metadata",
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "OMP_NUM_THREADS": "1",
            },
        }
    )
    group = open_group(tmp_path_factory.mktemp("r") / "runs", [plain])
    with group.run:
        with step("plain vllm serve: until it answers"):
            eventually(lambda: answers(group), PATIENCE, group.shown)
        return completions(group)


def answers(group: LocalGroup) -> bool:
    try:
        return bool(group.api("/v1/models")["data"])
    except OSError:
        return False


def heal(group: LocalGroup, step: Step, name: str, epoch: int, reference: list[str]) -> dict[str, Any]:
    """Wait until that epoch serves, in place, with the same words as before."""
    with step(name):
        status = group.wait_until_serving(epoch, PATIENCE)
    assert completions(group) == reference
    return status


@pytest.mark.parametrize(
    ("what", "fingerprint"),
    [
        pytest.param({"nodes": 1}, None, id="mp-one-node"),
        pytest.param({"nodes": 1, "tp": 2}, "-tp2-", id="mp-tp2-inside-one-node"),
        pytest.param({"tp": 2, "pp": 1, "head_gpus": 1, "worker_gpus": 1}, "-tp2-", id="mp-tp2-across-nodes"),
        pytest.param(
            {"executor": "ray", "pp": 3, "head_gpus": 1, "worker_gpus": 2},
            "-pp3-",
            id="ray-pp3-over-a-head-of-one-and-a-worker-of-two",
        ),
        pytest.param({"families": "ipv6"}, "-pp2-", id="mp-ipv6-alone"),
        pytest.param({"executor": "ray", "families": "ipv6"}, "-pp2-", id="ray-ipv6-alone"),
        pytest.param({"families": "crossed"}, "-pp2-", id="mp-dual-stack-service-ipv6"),
        pytest.param({"executor": "ray", "families": "dual-stack"}, "-pp2-", id="ray-dual-stack"),
    ],
)
def test_each_split_gives_the_same_completions(
    start: Start,
    made_model: Path,
    reference: list[str],
    step: Step,
    request: pytest.FixtureRequest,
    what: dict[str, Any],
    fingerprint: str | None,
) -> None:
    name = request.node.callspec.id
    families = what.get("families", "ipv4")
    others = {key: value for key, value in what.items() if key != "families"}
    group = start(pods(made_model, **others), families=families)
    with step(f"{name}: cold start"):
        status = group.wait_until_serving(1, PATIENCE)
    assert status["recoveries"] == 0
    assert all((":" in member["address"]) is (families == "ipv6") for member in status["members"])
    assert completions(group) == reference
    found = group.ask().fingerprint
    assert fingerprint in found if fingerprint else not any(one in found for one in ("-tp", "-pp"))


@pytest.fixture(scope="class")
def mp_group(start_for_class: Start, made_model: Path) -> LocalGroup:
    return start_for_class(pods(made_model))


@pytest.fixture(scope="class")
def ray_group(
    start_for_class: Start, made_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> LocalGroup:
    token = tmp_path_factory.mktemp("secret") / "token"
    token.write_text("a-token-of-the-tests")
    mount = HostMount(source=token, target=Path("/secret/token"))
    env = {"MULTINODE_BACKOFF": "0", "MULTINODE_TOKEN_FILE": "/secret/token"}
    return start_for_class(
        [
            pod.model_copy(update={"mounts": (*pod.mounts, mount)})
            for pod in pods(made_model, executor="ray", env=env)
        ]
    )


class TestMp:
    """Two nodes, a pipeline stage each."""

    def test_two_nodes_give_the_same_completions(
        self, reference: list[str], mp_group: LocalGroup, step: Step
    ) -> None:
        with step("mp: cold start"):
            mp_group.wait_until_serving(1, PATIENCE)
        assert completions(mp_group) == reference
        assert "-pp2-" in mp_group.ask().fingerprint

    def test_they_do_after_the_worker_was_killed(
        self, reference: list[str], mp_group: LocalGroup, step: Step
    ) -> None:
        before = mp_group.act("kill", "worker-1")
        heal(mp_group, step, "mp: worker killed, serving again", 2, reference)
        assert "its connection ended" in mp_group.noticed(before)
        assert mp_group.node("head").restarts == 0

    def test_they_do_after_the_worker_was_replaced(
        self, reference: list[str], mp_group: LocalGroup, step: Step
    ) -> None:
        mp_group.act("replace", "worker-1")
        heal(mp_group, step, "mp: worker replaced, serving again", 3, reference)
        assert mp_group.node("head").restarts == 0

    def test_they_do_after_one_process_of_the_engine_was_stopped(
        self, reference: list[str], mp_group: LocalGroup, step: Step
    ) -> None:
        # It holds the model; its parent, whom our supervisor waits for, notices nothing.
        (rank,) = mp_group.processes("worker-1", "VLLM::Worker")
        os.kill(rank, signal.SIGSTOP)
        status = heal(mp_group, step, "mp: worker's rank stopped, serving again", 4, reference)
        assert "is stopped (SIGSTOP)" in status["last_incident"]

    def test_they_do_after_the_head_was_killed(
        self, reference: list[str], mp_group: LocalGroup, step: Step
    ) -> None:
        mp_group.act("kill", "head")
        eventually(lambda: mp_group.node("head").restarts == 1, why=mp_group.shown)
        heal(mp_group, step, "mp: head killed, serving again", 1, reference)
        assert mp_group.node("worker-1").restarts == 0


class TestRay:
    """Two nodes, a pipeline stage each, and a token that members and Ray's own processes present."""

    def test_two_nodes_give_the_same_completions(
        self, reference: list[str], ray_group: LocalGroup, step: Step
    ) -> None:
        with step("ray: cold start"):
            ray_group.wait_until_serving(1, PATIENCE)
        assert completions(ray_group) == reference
        assert "-pp2-" in ray_group.ask().fingerprint
        assert "a-token-of-the-tests" not in "".join(ray_group.logs().values())

    def test_they_do_after_the_worker_was_killed(
        self, reference: list[str], ray_group: LocalGroup, step: Step
    ) -> None:
        before = ray_group.act("kill", "worker-1")
        heal(ray_group, step, "ray: worker killed, serving again", 2, reference)
        assert "its connection ended" in ray_group.noticed(before)
        assert ray_group.node("head").restarts == 0

    def test_they_do_after_the_worker_was_frozen(
        self, reference: list[str], ray_group: LocalGroup, step: Step
    ) -> None:
        before = ray_group.act("freeze", "worker-1")
        ray_group.wait_for("recovering")
        assert "no heartbeat" in ray_group.noticed(before)
        ray_group.act("thaw", "worker-1")
        heal(ray_group, step, "ray: worker thawed, serving again", 3, reference)
        assert [node.restarts for node in ray_group.nodes] == [0, 1]

from pathlib import Path

import pytest

from unit.launcher.pods import node, plan
from vllm_multinode.contract import ports
from vllm_multinode.launcher.commands import build
from vllm_multinode.launcher.commands.ray import starved
from vllm_multinode.launcher.plan import GroupPlan, Listener, Node
from vllm_multinode.launcher.settings import Ports, Sizes

PLAN = plan(executor="ray")
GCS = Listener(host="10.0.0.1", port=6379)
RAYLET = Listener(host="10.0.0.1", port=6380)


def start(plan: GroupPlan, node: Node) -> tuple[str, ...]:
    return build(plan, node)[0].argv


def test_a_head_starts_ray_and_then_vllm() -> None:
    raylet, serve = build(PLAN, node(0))
    assert raylet.argv == (
        *("ray", "start", "--block", "--disable-usage-stats", "--node-ip-address=10.0.0.1"),
        *("--head", "--port=6379", "--include-dashboard=false"),
        *("--num-cpus=1", "--num-gpus=1", "--object-store-memory=268435456"),
        *("--node-manager-port=6380", "--object-manager-port=6381", "--ray-client-server-port=6382"),
        *("--dashboard-agent-listen-port=6383", "--dashboard-agent-grpc-port=6384"),
        *("--runtime-env-agent-port=6385", "--metrics-export-port=6386", "--dashboard-port=6387"),
        *("--min-worker-port=20000", "--max-worker-port=20999"),
    )
    assert serve.argv == (
        *("vllm", "serve", "/mnt/models"),
        *("--tensor-parallel-size", "1", "--pipeline-parallel-size", "2"),
        *("--distributed-executor-backend", "ray"),
        *("--port", "8080", "--served-model-name", "llm", "--enable-server-load-tracking"),
    )
    assert serve.environment["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert raylet.after == ()
    assert serve.after == (GCS, RAYLET)


def test_a_worker_starts_ray_alone_once_the_head_listens() -> None:
    (raylet,) = build(PLAN, node(1))
    assert raylet.argv == (
        *("ray", "start", "--block", "--disable-usage-stats", "--node-ip-address=10.0.0.2"),
        "--address=10.0.0.1:6379",
        *("--num-cpus=1", "--num-gpus=1", "--object-store-memory=268435456"),
        *("--node-manager-port=6380", "--object-manager-port=6381"),
        *("--dashboard-agent-listen-port=6383", "--dashboard-agent-grpc-port=6384"),
        *("--runtime-env-agent-port=6385", "--metrics-export-port=6386"),
        *("--min-worker-port=20000", "--max-worker-port=20999"),
    )
    assert raylet.after == (GCS, RAYLET)


def test_both_processes_of_the_head_share_one_environment() -> None:
    raylet, serve = build(PLAN, node(0))
    assert raylet.environment == {
        "AUTOSCALER_METRIC_PORT": "6388",
        "DASHBOARD_METRIC_PORT": "6389",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    assert serve.environment == raylet.environment | {"RAY_ADDRESS": "10.0.0.1:6379"}
    assert serve.defaults == raylet.defaults
    # Ray gives its actors the raylet's environment, not the driver's.
    assert raylet.defaults["VLLM_HOST_IP"] == "10.0.0.1"


@pytest.mark.parametrize("gpus", [1, 4])
def test_each_node_offers_its_own_accelerators(gpus: int) -> None:
    unequal = plan(executor="ray", sizes=Sizes(tensor_parallel=1, pipeline_parallel=5, nodes=2))
    assert f"--num-gpus={gpus}" in start(unequal, node(1, gpus=gpus))


def test_gaudi_is_a_resource_of_its_own() -> None:
    argv = start(plan(executor="ray", accelerator="gaudi"), node(1, gpus=8))
    assert '--resources={"HPU": 8}' in argv
    assert not any(argument.startswith("--num-gpus") for argument in argv)


def test_one_setting_moves_every_port() -> None:
    moved = plan(
        executor="ray", ports=Ports(api=1, supervisor=2, master=3, ray=7000, ray_workers=(8000, 8100))
    )
    raylet, serve = build(moved, node(0))
    told = [argument.partition("=")[2] for argument in raylet.argv if "port=" in argument]
    assert told == [str(7000 + offset) for offset in (0, *ports.RAY_OFFSETS.values())] + ["8000", "8100"]
    assert raylet.environment["DASHBOARD_METRIC_PORT"] == "7010"
    assert [listener.port for listener in serve.after] == [7000, 7001]


@pytest.mark.parametrize("rank", [0, 1], ids=["head", "worker"])
def test_the_token_is_a_file_and_stays_out_of_the_arguments(rank: int) -> None:
    for process in build(PLAN, node(rank, token_file=Path("/secrets/token"))):
        assert process.environment["RAY_AUTH_MODE"] == "token"
        assert process.environment["RAY_AUTH_TOKEN_PATH"] == "/secrets/token"
        assert not any("token" in argument for argument in process.argv)


@pytest.mark.parametrize(
    ("rank", "scratch", "expected"),
    [
        pytest.param(0, "/tmp", [], id="head-at-the-default"),
        pytest.param(0, "/scratch", ["--temp-dir=/scratch/ray"], id="head-elsewhere"),
        pytest.param(1, "/scratch", [], id="a-worker-takes-the-heads"),
    ],
)
def test_the_temporary_directory(rank: int, scratch: str, expected: list[str]) -> None:
    argv = start(PLAN, node(rank, scratch=Path(scratch)))
    assert [argument for argument in argv if argument.startswith("--temp-dir")] == expected


def test_arguments_of_the_user_go_to_vllm_alone_and_last() -> None:
    raylet, serve = build(plan(executor="ray", arguments=("--seed", "1")), node(0))
    assert serve.argv[-2:] == ("--seed", "1")
    assert "--seed" not in raylet.argv


def test_no_port_serves_two_purposes() -> None:
    offsets = [0, *ports.RAY_OFFSETS.values(), *ports.RAY_ENV_OFFSETS.values()]
    assert len(offsets) == len(set(offsets))
    taken = {ports.RAY + offset for offset in offsets}
    assert not taken & {ports.API, ports.SUPERVISOR, ports.MASTER, *range(*ports.RAY_WORKERS)}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (
            "ray exited with status 1: Exception: The current node timed out during startup. This could",
            True,
        ),
        ("ray exited with status 1: Exception: No node info found for head node in GCS.", True),
        ("ray exited with status 1: RuntimeError: Version mismatch", False),
        ("vllm exited with status 1", False),
    ],
)
def test_a_node_that_was_too_slow_is_told_from_other_failures(reason: str, expected: bool) -> None:
    assert starved(reason) is expected

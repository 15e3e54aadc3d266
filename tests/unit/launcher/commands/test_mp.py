from pathlib import Path

import pytest

from unit.launcher.pods import node, plan
from vllm_multinode.launcher.commands import build
from vllm_multinode.launcher.masking import masked
from vllm_multinode.launcher.plan import Process
from vllm_multinode.launcher.settings import Sizes

COMMON = (
    "vllm serve /mnt/models --tensor-parallel-size 1 --pipeline-parallel-size 2 "
    "--distributed-executor-backend mp --nnodes 2 --node-rank {rank} "
    "--master-addr 10.0.0.1 --master-port 29500"
)
API = "--port 8080 --served-model-name llm --enable-server-load-tracking"


def only(processes: tuple[Process, ...]) -> Process:
    (found,) = processes
    return found


@pytest.mark.parametrize(
    ("rank", "line"),
    [
        pytest.param(0, f"{COMMON.format(rank=0)} {API}", id="head"),
        pytest.param(1, f"{COMMON.format(rank=1)} --headless", id="worker"),
    ],
)
def test_the_same_command_on_every_node_but_for_the_rank(rank: int, line: str) -> None:
    process = only(build(plan(), node(rank)))
    assert " ".join(process.argv) == line
    assert process.after == ()
    assert process.environment == {}


def test_the_environment_binds_every_channel_to_the_nodes_own_address() -> None:
    assert only(build(plan(), node(1))).defaults == {
        "VLLM_HOST_IP": "10.0.0.2",
        "VLLM_NO_USAGE_STATS": "1",
        "GLOO_SOCKET_IFNAME": "eth0",
        "NCCL_SOCKET_IFNAME": "=eth0",
    }
    unknown = only(build(plan(), node(1, interface=None))).defaults
    assert set(unknown) == {"VLLM_HOST_IP", "VLLM_NO_USAGE_STATS"}


def test_one_node_is_told_nothing_of_others() -> None:
    alone = plan(sizes=Sizes(tensor_parallel=4, pipeline_parallel=1, nodes=1))
    assert only(build(alone, node(0, gpus=4))).argv == (
        *("vllm", "serve", "/mnt/models"),
        *("--tensor-parallel-size", "4", "--pipeline-parallel-size", "1"),
        *("--distributed-executor-backend", "mp"),
        *API.split(),
    )


def test_the_heads_arguments_come_last_and_a_workers_own_after_them() -> None:
    given = plan(arguments=("--seed", "1"))
    assert only(build(given, node(0))).argv[-2:] == ("--seed", "1")
    worker = only(build(given, node(1, arguments=("--seed", "2")))).argv
    assert worker[-5:] == ("--headless", "--seed", "1", "--seed", "2")


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param("--served-model-name", id="plain"),
        pytest.param("--served_model_name", id="underscores"),
    ],
)
def test_a_users_model_name_is_respected(argument: str) -> None:
    argv = only(build(plan(arguments=(argument, "mine", "also-mine")), node(0))).argv
    assert "llm" not in argv
    assert argv[-3:] == (argument, "mine", "also-mine")


def test_without_a_name_vllm_names_the_model_itself() -> None:
    assert "--served-model-name" not in only(build(plan(model_name=None), node(0))).argv


class TestCpu:
    def test_the_quick_start_is_a_default(self) -> None:
        argv = only(build(plan(accelerator="cpu"), node(0))).argv
        assert argv[argv.index("--max-num-seqs") + 1] == "8"
        assert "--enforce-eager" not in argv

    def test_what_the_user_says_stands_alone(self) -> None:
        argv = only(build(plan(accelerator="cpu", arguments=("--max_num_seqs=32",)), node(0))).argv
        assert "--max-num-seqs" not in argv
        assert "--max-num-batched-tokens" in argv

    def test_fork_is_the_nodes_choice(self) -> None:
        defaults = only(build(plan(accelerator="cpu"), node(0, cpu_fork=False))).defaults
        assert defaults["MULTINODE_CPU_FORK"] == "0"
        assert defaults["VLLM_HOST_IP"] == "10.0.0.1"
        assert "NCCL_SOCKET_IFNAME" not in defaults


def test_the_log_shows_no_secret() -> None:
    given = plan(arguments=("--api-key", "s3cret", "--hf-token=s3cret"))
    process = only(build(given, node(0, token_file=Path("/token"))))
    assert "s3cret" not in masked(process.argv)
    assert "vllm serve /mnt/models" in masked(process.argv)

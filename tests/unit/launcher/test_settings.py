import os
from pathlib import Path

import pytest

from unit.launcher.pods import settings_of
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.kserve import Role
from vllm_multinode.launcher.settings import GroupName, Ports, Sizes, heartbeat_interval, read_settings

MAY_BE_EMPTY = {env.MODEL_SOURCE}
READ_BY_BOTH = sorted(
    env.OURS - {env.CPU_PLATFORM} - MAY_BE_EMPTY | {env.POD_NAME, env.POD_IP, env.POD_NAMESPACE}
)
READ_BY_HEAD = [
    env.TENSOR_PARALLEL_SIZE,
    env.PIPELINE_PARALLEL_SIZE,
    env.RAY_NODE_COUNT,
    env.REQUEST_GPU_COUNT,
    env.MODEL_NAME,
    env.MODEL_DIR,
    env.INFERENCE_SERVICE_NAME,
    env.LWS_GROUP_SIZE,
]
READ_BY_WORKER = [env.REQUEST_GPU_COUNT, env.TENSOR_PARALLEL_SIZE, env.HEAD_SVC, env.ISVC_NAME]


def refusal(role: Role, **changes: str | None) -> MultinodeError:
    with pytest.raises(MultinodeError) as refused:
        settings_of(role, **changes)
    return refused.value


@pytest.mark.parametrize("value", ["", "  "], ids=["empty", "blank"])
@pytest.mark.parametrize(
    ("role", "name"),
    [
        *(pytest.param("head", name, id=f"head-{name}") for name in READ_BY_BOTH + READ_BY_HEAD),
        *(pytest.param("worker", name, id=f"worker-{name}") for name in READ_BY_BOTH + READ_BY_WORKER),
    ],
)
def test_an_empty_variable_is_refused_by_name(role: Role, name: str, value: str) -> None:
    refused = refusal(role, **{name: value})
    assert (refused.code, refused.where) == (ExitCode.VARIABLE, name)
    assert "is set but empty" in refused.what


@pytest.mark.parametrize("value", ["a\x1b[2Jb", "a\nb", "x" * 5000], ids=["escape", "two-lines", "long"])
@pytest.mark.parametrize("name", [env.POD_NAME, env.MODEL_NAME, env.POD_IP, env.LOG_LEVEL, env.PORT])
def test_a_variable_that_no_log_can_carry_is_refused_by_name(name: str, value: str) -> None:
    refused = refusal("head", **{name: value})
    assert (refused.code, refused.where) == (ExitCode.VARIABLE, name)
    assert "holds a control character, or more than 4096 characters" in refused.what


@pytest.mark.parametrize(
    ("role", "name"),
    [
        pytest.param("head", env.TENSOR_PARALLEL_SIZE, id="head-tp"),
        pytest.param("head", env.PIPELINE_PARALLEL_SIZE, id="head-pp"),
        pytest.param("worker", env.HEAD_SVC, id="worker-head-service"),
    ],
)
def test_a_missing_variable_is_refused_by_name(role: Role, name: str) -> None:
    refused = refusal(role, **{name: None})
    assert (refused.code, refused.where) == (ExitCode.VARIABLE, name)
    assert "KServe sets it" in refused.what


COUNTS = [
    env.TENSOR_PARALLEL_SIZE,
    env.PIPELINE_PARALLEL_SIZE,
    env.RAY_NODE_COUNT,
    env.REQUEST_GPU_COUNT,
    env.START_ATTEMPTS,
    env.RECOVERY_ATTEMPTS,
]
PORT_NAMES = [env.PORT, env.SUPERVISOR_PORT, env.RAY_PORT, env.MASTER_PORT]
SECONDS = [
    env.HEARTBEAT_TIMEOUT,
    env.HEAD_TIMEOUT,
    env.MEMBER_TIMEOUT,
    env.START_TIMEOUT,
    env.HANG_TIMEOUT,
    env.DRAIN_TIMEOUT,
    env.BACKOFF,
    env.STABLE_AFTER,
]
SWITCHES = [env.READ_AHEAD, env.WIRE_CHECK, env.CPU_FORK]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in COUNTS for value in ("two", "0", "-1", "1.5", "9" * 400)),
        *((name, value) for name in PORT_NAMES for value in ("http", "0", "65536", "tcp://10.0.0.1:80")),
        *((name, value) for name in SECONDS for value in ("soon", "-1", "nan", "inf", "5s")),
        *((name, "yes!") for name in SWITCHES),
        *((env.RAY_WORKER_PORTS, value) for value in ("20000", "2-1", "0-9", "1-65536", "a-b", "¹-²")),
        (env.HEARTBEAT_TIMEOUT, "0.1"),
        (env.HANG_TIMEOUT, "0.5"),
        (env.LWS_GROUP_SIZE, "many"),
        (env.SHARED_MEMORY_MIN, "-1"),
        (env.ACCELERATOR, "tpu"),
        (env.LOG_LEVEL, "loud"),
        (env.LOG_FORMAT, "xml"),
    ],
    ids=lambda text: text[:20],
)
def test_a_value_that_is_none_is_refused_with_the_variable_and_the_value(name: str, value: str) -> None:
    refused = refusal("head", **{name: value})
    assert (refused.code, refused.where) == (ExitCode.VARIABLE, name)
    assert value in refused.what


def test_an_unknown_executor_has_a_code_of_its_own() -> None:
    refused = refusal("head", MULTINODE_EXECUTOR="slurm")
    assert (refused.code, refused.where) == (ExitCode.EXECUTOR, env.EXECUTOR)
    assert str(refused) == "MULTINODE_EXECUTOR: 'slurm' is unknown. One of ray, mp."


def test_defaults() -> None:
    settings = settings_of("head", "--seed", "1")
    assert settings.executor == "mp"
    assert settings.accelerator == "auto"
    assert settings.ports == Ports(
        api=8080, supervisor=8081, master=29500, ray=6379, ray_workers=(20000, 20999)
    )
    assert settings.timings.model_dump() == {
        "model": 0,
        "heartbeat": 5,
        "head": 600,
        "members": 3600,
        "start": 3600,
        "hang": 120,
        "drain": 20,
        "backoff": 2,
        "stable_after": 300,
        "start_attempts": 3,
        "recovery_attempts": 10,
    }
    assert settings.model_dir == Path("/mnt/models")
    assert settings.token is None
    assert settings.read_ahead
    assert settings.cpu_fork
    assert settings.termination_log == Path("/dev/termination-log")
    assert settings.arguments == ("--seed", "1")


def test_five_heartbeats_fit_into_the_time_out() -> None:
    assert heartbeat_interval(5) == 1


def test_what_is_set_wins() -> None:
    settings = settings_of(
        "worker",
        MULTINODE_EXECUTOR="mp",
        MULTINODE_PORT="1",
        MULTINODE_RAY_WORKER_PORTS="65000-65535",
        MULTINODE_HEARTBEAT_TIMEOUT="0.5",
        MULTINODE_DRAIN_TIMEOUT="0",
        MULTINODE_READ_AHEAD="False",
        MULTINODE_SCRATCH="/scratch",
        MULTINODE_ACCELERATOR="gaudi",
        MODEL_DIR=" /models/a ",
        POD_IP="10.0.0.9",
    )
    assert settings.executor == "mp"
    assert settings.ports.api == 1
    assert settings.ports.ray_workers == (65000, 65535)
    assert settings.timings.heartbeat == 0.5
    assert settings.timings.drain == 0
    assert not settings.read_ahead
    assert settings.scratch == Path("/scratch")
    assert settings.accelerator == "gaudi"
    assert settings.model_dir == Path("/models/a")
    assert settings.pod_ip == "10.0.0.9"


def test_the_hostname_stands_in_for_the_pods_name() -> None:
    assert settings_of("head", POD_NAME=None).pod_name == "hostname"


class TestSizes:
    def test_a_heads_are_kserves(self) -> None:
        assert settings_of("head").sizes == Sizes(tensor_parallel=1, pipeline_parallel=2, nodes=2)

    def test_a_head_of_v0_15_0_is_told_neither_nodes_nor_accelerators(self) -> None:
        settings = settings_of(
            "head",
            RAY_NODE_COUNT=None,
            REQUEST_GPU_COUNT=None,
            TENSOR_PARALLEL_SIZE="4",
            PIPELINE_PARALLEL_SIZE="3",
        )
        assert settings.sizes == Sizes(tensor_parallel=4, pipeline_parallel=3, nodes=3)
        assert settings.gpus == 4

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({}, id="v0.15.2"),
            pytest.param(
                {"RAY_NODE_COUNT": None, "REQUEST_GPU_COUNT": None, "PIPELINE_PARALLEL_SIZE": "2"},
                id="v0.15.0",
            ),
        ],
    )
    def test_a_worker_may_be_told_none(self, changes: dict[str, str | None]) -> None:
        assert settings_of("worker", **changes).sizes is None

    def test_a_workers_from_v0_18(self) -> None:
        settings = settings_of("worker", TENSOR_PARALLEL_SIZE="4", PIPELINE_PARALLEL_SIZE="2")
        assert settings.sizes == Sizes(tensor_parallel=4, pipeline_parallel=2, nodes=2)

    def test_a_worker_with_half_of_them_is_refused(self) -> None:
        refused = refusal("worker", TENSOR_PARALLEL_SIZE="4")
        assert (refused.code, refused.where) == (ExitCode.VARIABLE, env.PIPELINE_PARALLEL_SIZE)

    def test_accelerators_are_not_guessed_where_kserve_counts_nodes(self) -> None:
        assert settings_of("head", REQUEST_GPU_COUNT=None).gpus is None


class TestGroup:
    def test_a_worker_takes_service_and_generation_from_the_heads_service(self) -> None:
        settings = settings_of("worker")
        assert settings.group == GroupName(namespace="ns", service="llm", generation="3")
        assert settings.head_host == "llm-head-3.ns.svc"

    def test_a_name_that_holds_the_separator(self) -> None:
        settings = settings_of("worker", HEAD_SVC="two-head-ed-head-12", POD_NAMESPACE=None)
        assert settings.group.generation == "12"
        assert settings.head_host == "two-head-ed-head-12"

    def test_a_head_knows_its_generation_from_the_downward_api_alone(self) -> None:
        assert settings_of("head").group == GroupName(namespace="ns", service="llm", generation=None)
        assert settings_of("head", MULTINODE_GENERATION="4").group.generation == "4"

    @pytest.mark.parametrize(
        ("annotation", "known"),
        [
            pytest.param({}, "", id="another-runtime"),
            pytest.param({"MULTINODE_MODEL_SOURCE": ""}, "", id="no-annotation"),
            pytest.param({"MULTINODE_MODEL_SOURCE": "pvc://models/llama"}, "pvc://models/llama", id="told"),
        ],
    )
    def test_where_the_model_was_to_come_from(self, annotation: dict[str, str], known: str) -> None:
        assert settings_of("head", **annotation).model_source == known

    def test_from_v0_17_the_head_is_told_the_services_name_apart_from_the_models(self) -> None:
        settings = settings_of("head", INFERENCE_SERVICE_NAME="llm", MODEL_NAME="other")
        assert (settings.group.service, settings.model_name) == ("llm", "other")

    def test_learning_keeps_what_is_known(self) -> None:
        known = GroupName(namespace="ns", service="llm")
        assert known.learn(GroupName(service="x", generation="3")) == GroupName(
            namespace="ns", service="llm", generation="3"
        )


LWS = {
    "LWS_LEADER_ADDRESS": "llm-0.llm.ns",
    "LWS_GROUP_SIZE": "3",
    "LWS_WORKER_INDEX": "1",
    "TENSOR_PARALLEL_SIZE": "8",
    "PIPELINE_PARALLEL_SIZE": "3",
}


def test_a_leader_worker_set_names_the_head_and_counts_the_nodes() -> None:
    head = read_settings("head", LWS, (), "llm-0")
    worker = read_settings("worker", LWS, (), "llm-0-1")
    assert head.sizes == worker.sizes == Sizes(tensor_parallel=8, pipeline_parallel=3, nodes=3)
    assert (head.head_host, worker.head_host) == (None, "llm-0.llm.ns")
    assert head.group.service == worker.group.service == "llm-0.llm.ns"
    assert head.group.difference(worker.group) is None


class TestToken:
    def test_is_read_without_the_final_newline_and_stays_out_of_the_repr(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("s3cret\n")
        settings = settings_of("head", MULTINODE_TOKEN_FILE=str(tmp_path / "token"))
        assert settings.token == "s3cret"
        assert settings.token_file == tmp_path / "token"
        assert "s3cret" not in repr(settings)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            pytest.param(None, "cannot be read: No such file", id="missing"),
            pytest.param(b"", "is empty", id="empty"),
            pytest.param(b" \n", "is empty", id="blank"),
            pytest.param(b"one\ntwo", "printable ASCII", id="two-lines"),
            pytest.param(b"\xff\xfe\x00", "printable ASCII", id="bytes"),
            pytest.param(b"x" * 100_000, "holds more than", id="long"),
        ],
    )
    def test_is_refused(self, tmp_path: Path, content: bytes | None, words: str) -> None:
        file = tmp_path / "token"
        if content is not None:
            file.write_bytes(content)
        refused = refusal("worker", MULTINODE_TOKEN_FILE=str(file))
        assert (refused.code, refused.where) == (ExitCode.VARIABLE, env.TOKEN_FILE)
        assert str(file) in refused.what
        assert words in refused.what

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "token")
        assert "not a file" in refusal("head", MULTINODE_TOKEN_FILE=str(tmp_path / "token")).what

    def test_a_folder_is_no_token(self, tmp_path: Path) -> None:
        assert "Is a directory" in refusal("head", MULTINODE_TOKEN_FILE=str(tmp_path)).what


@pytest.mark.parametrize("value", ["1_0", "\uff11\uff10", "+8", " 8", "8 ", "8\u00a0", "nan"])
@pytest.mark.parametrize("name", [env.PIPELINE_PARALLEL_SIZE, env.PORT, env.HANG_TIMEOUT, env.START_ATTEMPTS])
def test_a_number_is_of_ascii_digits(name: str, value: str) -> None:
    refused = refusal("head", **{name: value})
    assert (refused.code, refused.where) == (ExitCode.VARIABLE, name)

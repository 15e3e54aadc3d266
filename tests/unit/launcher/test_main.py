import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certificates import SERVER, Authority
from unit.launcher.alone import Alone
from unit.launcher.launching import Launcher
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.kserve import Role
from vllm_multinode.launcher.tls import Certificate

Case = tuple[Role, dict[str, str | None], ExitCode, str]


def refusal(launcher: Launcher, alone: Alone, code: ExitCode, words: str) -> None:
    """One line, the same in the termination log, the code, and nothing half-started."""
    assert alone.wait() == code, alone.output()
    log = alone.stderr.read_text().splitlines()
    ours = [line for line in log if line.startswith("multinode: ")]
    assert ours == log[-1:]
    assert words in ours[0]
    assert ours[0].endswith(f"(exit code {code.value})")
    # Everything else is a line of the log, with its time.
    assert all(line.startswith("20") for line in log[:-1])
    assert launcher.termination_log.read_text() == f"{ours[0]}\n"
    assert "Traceback" not in alone.output()
    assert alone.left() == []


POD_ADDRESSES: dict[str, tuple[Role, str, str]] = {
    "no-address": ("head", "eth0", "'eth0' is not an IP address."),
    "two": ("worker", "127.0.0.1,::1", "'127.0.0.1,::1' is not an IP address."),
    "of-all": ("head", "0.0.0.0", "0.0.0.0 is not an address of this pod"),
    "of-all-ipv6": ("worker", "::", ":: is not an address of this pod"),
    "of-many": ("head", "ff02::1", "ff02::1 is not an address of this pod"),
}
CASES: dict[str, Case] = {
    "variable-missing": (
        "head",
        {"TENSOR_PARALLEL_SIZE": None},
        ExitCode.VARIABLE,
        "TENSOR_PARALLEL_SIZE: is not set; KServe sets it from the workerSpec.",
    ),
    "variable-missing-on-a-worker": ("worker", {"HEAD_SVC": None}, ExitCode.VARIABLE, "HEAD_SVC: is not set"),
    "variable-empty": ("head", {"POD_IP": ""}, ExitCode.VARIABLE, "POD_IP: is set but empty."),
    **{
        f"pod-address-{name}": (role, {"POD_IP": value}, ExitCode.VARIABLE, f"POD_IP: {words}")
        for name, (role, value, words) in POD_ADDRESSES.items()
    },
    "variable-non-numeric": (
        "worker",
        {"REQUEST_GPU_COUNT": "all"},
        ExitCode.VARIABLE,
        "REQUEST_GPU_COUNT: 'all' is not a whole number of at least 1.",
    ),
    "executor-unknown": (
        "head",
        {"MULTINODE_EXECUTOR": "slurm"},
        ExitCode.EXECUTOR,
        "MULTINODE_EXECUTOR: 'slurm' is unknown. One of ray, mp.",
    ),
    "sizes-leave-nodes-idle": (
        "head",
        {"RAY_NODE_COUNT": "2"},
        ExitCode.SIZES,
        "RAY_NODE_COUNT: TP 1 x PP 1 = 1 ranks leave 1 of 2 nodes without work.",
    ),
    "sizes-want-more-accelerators": (
        "head",
        {"TENSOR_PARALLEL_SIZE": "4"},
        ExitCode.SIZES,
        "need 4 accelerators",
    ),
    "model-missing": (
        "worker",
        {"MODEL_DIR": "/nonexistent/models"},
        ExitCode.MODEL_MISSING,
        "/nonexistent/models",
    ),
    "model-missing-from-its-claim": (
        "head",
        {"MODEL_DIR": "/nonexistent/models", "MULTINODE_MODEL_SOURCE": "pvc://models/llama"},
        ExitCode.MODEL_MISSING,
        "It should be folder llama of the claim models",
    ),
    "heads-not-divided-by-tp": (
        "head",
        {"TENSOR_PARALLEL_SIZE": "3", "REQUEST_GPU_COUNT": "3"},
        ExitCode.HEADS,
        "3",
    ),
    "fewer-layers-than-pp": (
        "head",
        {"PIPELINE_PARALLEL_SIZE": "5", "REQUEST_GPU_COUNT": "5"},
        ExitCode.LAYERS,
        "5",
    ),
    "accelerators-other-than-given": (
        "head",
        {"MULTINODE_ACCELERATOR": "gaudi", "REQUEST_GPU_COUNT": "8", "TENSOR_PARALLEL_SIZE": "8"},
        ExitCode.ACCELERATORS,
        "REQUEST_GPU_COUNT: this pod was given 8 accelerators and sees 0 (gaudi).",
    ),
    "token-file-missing": (
        "worker",
        {"MULTINODE_TOKEN_FILE": "/nonexistent/token"},
        ExitCode.VARIABLE,
        "MULTINODE_TOKEN_FILE: /nonexistent/token cannot be read: No such file or directory.",
    ),
    "head-not-resolved": (
        "worker",
        {"HEAD_SVC": "llm-head-1.invalid", "MULTINODE_HEAD_TIMEOUT": "0.3"},
        ExitCode.HEAD_UNREACHABLE,
        "llm-head-1.invalid does not resolve",
    ),
    "head-is-no-name": (
        "worker",
        {"HEAD_SVC": "llm..head", "MULTINODE_HEAD_TIMEOUT": "0.3"},
        ExitCode.HEAD_UNREACHABLE,
        "llm..head is not a host name",
    ),
}


@pytest.mark.parametrize(("role", "changes", "code", "words"), CASES.values(), ids=CASES)
def test_bad_input_is_one_line_and_a_code(
    launcher: Launcher, role: Role, changes: dict[str, str | None], code: ExitCode, words: str
) -> None:
    with launcher.run(role, **changes) as alone:
        refusal(launcher, alone, code, words)


def no_config(launcher: Launcher) -> None:
    (launcher.model / "config.json").unlink()


def broken_config(launcher: Launcher) -> None:
    (launcher.model / "config.json").write_text("{")


def truncated_shard(launcher: Launcher) -> None:
    shard = launcher.model / "model.safetensors"
    os.truncate(shard, shard.stat().st_size - 1)


def absent_shard(launcher: Launcher) -> None:
    index = {"weight_map": {"lm_head.weight": "model.safetensors", "a": "model-00002.safetensors"}}
    (launcher.model / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("role", ["head", "worker"])
@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        pytest.param(no_config, ExitCode.MODEL_CONFIG, "config.json", id="no-config"),
        pytest.param(broken_config, ExitCode.MODEL_CONFIG, "config.json", id="broken-config"),
        pytest.param(truncated_shard, ExitCode.SHARD_TRUNCATED, "model.safetensors", id="truncated-shard"),
        pytest.param(absent_shard, ExitCode.SHARD_ABSENT, "model-00002.safetensors", id="absent-shard"),
    ],
)
def test_a_spoilt_model_is_one_line_and_a_code(
    launcher: Launcher, role: Role, spoil: Callable[[Launcher], None], code: ExitCode, words: str
) -> None:
    spoil(launcher)
    with launcher.run(role) as alone:
        refusal(launcher, alone, code, words)


@pytest.mark.parametrize("variable", ["MULTINODE_PORT", "MULTINODE_SUPERVISOR_PORT", "MULTINODE_MASTER_PORT"])
def test_a_taken_port_is_named_with_its_variable(launcher: Launcher, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with launcher.run("head", **{variable: port}) as alone:
            refusal(
                launcher, alone, ExitCode.PORT_TAKEN, f"{variable}: port {port} is taken by another process"
            )


def test_a_port_that_two_variables_give_away_is_named_with_both(launcher: Launcher) -> None:
    with launcher.run("head", MULTINODE_MASTER_PORT=str(launcher.supervisor)) as alone:
        words = (
            f"MULTINODE_MASTER_PORT: port {launcher.supervisor} belongs to MULTINODE_SUPERVISOR_PORT already"
        )
        refusal(launcher, alone, ExitCode.VARIABLE, words)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--tensor-parallel-size", "2"), id="long"),
        pytest.param(("-tp=2",), id="short"),
    ],
)
def test_an_argument_that_contradicts_the_contract(launcher: Launcher, arguments: tuple[str, ...]) -> None:
    with launcher.run("head", *arguments) as alone:
        words = f"{' '.join(arguments)} contradicts the contract: TENSOR_PARALLEL_SIZE=1."
        refusal(launcher, alone, ExitCode.ARGUMENTS, words)


def test_a_termination_log_that_nobody_made_is_not_made_up(launcher: Launcher) -> None:
    existed = Path("/dev/termination-log").exists()
    with launcher.run("head", MULTINODE_TERMINATION_LOG="") as alone:
        assert alone.wait() == ExitCode.VARIABLE
        assert "MULTINODE_TERMINATION_LOG: is set but empty." in alone.stderr.read_text()
    assert Path("/dev/termination-log").exists() is existed


def test_a_termination_log_that_cannot_be_written_hides_nothing(launcher: Launcher) -> None:
    path = str(launcher.folder / "absent" / "log")
    with launcher.run("head", MULTINODE_TERMINATION_LOG=path, MULTINODE_EXECUTOR="slurm") as alone:
        assert alone.wait() == ExitCode.EXECUTOR
        assert alone.stderr.read_text().startswith("multinode: MULTINODE_EXECUTOR: 'slurm' is unknown.")


def test_the_command_itself_starts_a_role() -> None:
    # Everything above runs the command in a fork; this is the one that is installed.
    done = subprocess.run(
        [sys.executable, "-c", "from vllm_multinode.cli.main import main; main()", "head"],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "MULTINODE_TERMINATION_LOG": "/dev/null"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.VARIABLE
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param((), "--ssl-certfile: certificate and key cannot be read: No such", id="no-such-file"),
        pytest.param(
            ("--ssl-cert-reqs", "2"),
            "--ssl-cert-reqs: vLLM would reject its own",
            id="unknown-client",
        ),
    ],
)
def test_tls_that_the_supervisor_could_not_speak(
    launcher: Launcher, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    own = Authority(tmp_path).issue("llm", SERVER) if more else Certificate("/nowhere", "/nowhere")
    files = ("--ssl-certfile", own.file, "--ssl-keyfile", own.key or "")
    with launcher.run("head", *files, *more) as alone:
        refusal(launcher, alone, ExitCode.ARGUMENTS, words)

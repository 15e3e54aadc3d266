"""`multinode models` and `multinode gpus` as processes: what they list, and that lines fit the terminal."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

_RUN = [sys.executable, "-c", "from vllm_multinode.cli.main import main; main()"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_RUN, *arguments],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def on_a_terminal(columns: int, *arguments: str, code: int = 0, **more: str) -> list[str]:
    """Lines of the command on a terminal of so many columns."""
    outside, inside = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", **more}
    process = subprocess.Popen([*_RUN, *arguments], stdout=inside, stderr=subprocess.DEVNULL, env=environment)
    os.close(inside)
    content = b""
    try:
        while chunk := os.read(outside, 4096):
            content += chunk
    except OSError:
        pass  # Linux says so when the other side is closed.
    finally:
        os.close(outside)
    assert process.wait(timeout=60) == code
    return content.decode().splitlines()


def test_models_are_found_by_parts_of_their_names() -> None:
    ended = run("models", "deepseek", "r1", "-o", "json")
    assert ended.returncode == 0, ended.stderr
    found = {one["model"]: one for one in json.loads(ended.stdout)}
    assert {"deepseek-ai/DeepSeek-R1", "nvidia/DeepSeek-R1-0528-NVFP4-v2"} <= found.keys()
    best = found["deepseek-ai/DeepSeek-R1"]["deployments"]["H200-SXM-141GB"]
    assert (best["nodes"], best["tensor_parallel"]) == (1, 8)
    assert found["deepseek-ai/DeepSeek-R1"]["parameters"] == pytest.approx(671e9, rel=0.01)


def test_deployments_are_for_the_gpus_and_the_context_asked_for() -> None:
    ended = run("models", "gpt-oss-120b", "--gpu", "p5.4xlarge", "--gpu", "L4", "--context", "1024")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split("\n")[0].split()[-2:] == ["p5.4xlarge", "L4"]
    assert "1024 tokens" in ended.stderr


def test_gpus_are_found_by_a_shape_that_has_them() -> None:
    ended = run("gpus", "BM.GPU.H100", "-o", "json")
    assert [one["gpu"] for one in json.loads(ended.stdout)] == ["H100-SXM-80GB"]


def test_a_gpu_is_shown_with_its_label_and_its_shapes() -> None:
    shown = run("gpus", "H200").stdout
    assert "NVIDIA-H200" in shown
    assert "p5en.48xlarge" in shown.partition("NODE SHAPE ")[2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("models", "kimy", "k3"), "moonshotai/Kimi-K3", id="model"),
        pytest.param(("gpus", "h1000"), "H100", id="gpu"),
        pytest.param(("models", "glm", "--gpu", "H1000"), "H100", id="gpu-of-a-deployment"),
    ],
)
def test_an_unknown_name_is_one_line_with_close_ones(arguments: tuple[str, ...], says: str) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert says in ended.stderr


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
@pytest.mark.parametrize("arguments", [("models", "nvidia"), ("gpus",), ("gpus", "h100")], ids=" ".join)
def test_lines_fit_the_terminal(columns: int, arguments: tuple[str, ...]) -> None:
    lines = on_a_terminal(columns, *arguments)
    assert len(lines) > 3
    assert max(map(len, lines)) <= columns


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = " ".join(f"'{part}'" for part in [*_RUN, "models"])
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -2"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(ended.stdout.splitlines()) == 2


def test_ones_own_entries_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("accelerators: [{name: lab-gpu, memory_gb: 80}]\n")
    assert "lab-gpu" in run("gpus", "lab", MULTINODE_CATALOGUE=str(file)).stdout


_REFUSED = """apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: a}
spec:
  predictor:
    minReplicas: 2
    model: {modelFormat: {name: vLLM}, storageUri: "pvc://m/a", runtime: x}
    workerSpec: {}
"""


@pytest.mark.parametrize("columns", [40, 80])
def test_findings_on_a_terminal_start_with_their_place_and_fit(columns: int, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(_REFUSED)
    lines = on_a_terminal(columns, "validate", str(file), code=4, NO_COLOR="1")
    places = [number for number, line in enumerate(lines) if line.startswith(f"{file}:")]
    assert len(places) > 1
    assert lines[places[0] + 1].split()[0] == "refused"
    assert max(len(line) for number, line in enumerate(lines) if number not in places) <= columns
    assert "\x1b" not in "".join(lines)


def test_colours_are_for_terminals(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(_REFUSED)
    shown = on_a_terminal(80, "validate", str(file), code=4, NO_COLOR="")
    assert "\x1b[31mrefused\x1b[0m" in "".join(shown)
    assert "\x1b" not in run("validate", str(file)).stdout

"""`multinode plan --against` as a process: a log beside what a plan says for it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unit.sizing.models import DATA, small

_MAIN = (
    "import sys; sys.argv = ['multinode', 'plan', *sys.argv[1:]]\n"
    "from vllm_multinode.cli.main import main; main()"
)
LOG = """\
INFO [api_server.py:1] vLLM API server version 0.19.0
INFO [utils.py:233] non-default args: {'model': '/mnt/models', 'gpu_memory_utilization': 0.95}
(Worker_TP0 pid=60) INFO Model loading took 14.99 GiB memory and 3.1 seconds
(Worker_TP0 pid=60) INFO Available KV cache memory: 58.11 GiB
(EngineCore_DP0 pid=48) INFO GPU KV cache size: 476,000 tokens
(EngineCore_DP0 pid=48) INFO Maximum concurrency for 8,192 tokens per request: 58.11x
INFO:     Application startup complete.
"""


def against(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _MAIN, *arguments],
        input=given, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "engine.log"
    found.write_text(LOG)
    return found


def test_every_part_stands_beside_the_logged_one(file: Path) -> None:
    ended = against("llama-3.1-8b-instruct", "--against", str(file), "--gpu", "H100", "-o", "json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    rows = {row["part"]: row for row in found["compared"]}
    assert rows["weights"]["logged"] == 14.99
    assert abs(rows["weights"]["difference"]) < 0.1
    assert abs(rows["Available KV cache memory"]["difference"]) < 0.2
    assert rows["bytes of a token"]["reason"] == ""
    assert found["plan"]["asked"]["gpu_memory_utilization"] == 0.95
    assert found["plan"]["vllm"] == "0.19.0"


def test_standard_input_is_read_and_what_needs_a_gpu_says_so() -> None:
    ended = against("llama-3.1-8b-instruct", "--against", "-", given=LOG)
    assert ended.returncode == 0, ended.stderr
    assert "name the GPU with --gpu" in ended.stdout
    assert "GPU KV cache size" in ended.stdout


def test_a_real_log_has_the_planned_figures(tmp_path: Path) -> None:
    """A small Llama over two nodes of CPUs: blocks, tokens and concurrency are the plan's own."""
    found = small(
        hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048,
    )  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(found))
    file = DATA / "engine_logs" / "cpu-0.32.0-pp2.log"
    ended = against(str(tmp_path), "--against", str(file), "-o", "json")
    assert ended.returncode == 0, ended.stderr
    rows = {row["part"]: row for row in json.loads(ended.stdout)["compared"]}
    assert rows["GPU KV cache size"]["planned"] == rows["GPU KV cache size"]["logged"] == 8192
    assert rows["Maximum concurrency for 2,048 tokens per request"]["difference"] == 0
    assert "VLLM_CPU_KVCACHE_SPACE" in rows["Available KV cache memory"]["reason"]


def test_a_difference_has_a_reason(tmp_path: Path, file: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(small()))
    ended = against(str(tmp_path), "--against", str(file), "--gpu", "H100", "-o", "json")
    rows = {row["part"]: row for row in json.loads(ended.stdout)["compared"]}
    assert "unquantised" in rows["weights"]["reason"]
    assert rows["bytes of a token"]["reason"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        pytest.param(("--against", "FILE"), 20, "/mnt/models", id="a-model-that-is-not-here"),
        pytest.param(("--against", "/no/such.log"), 9, "cannot be read", id="no-file"),
        pytest.param(("llama-3.1-8b-instruct", "--against", "-"), 9, "lacks the lines", id="empty"),
        pytest.param(("--against", "FILE", "-o", "spec"), 2, "-o spec", id="a-spec-of-a-comparison"),
        pytest.param((), 2, "No model is given", id="neither-model-nor-log"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], code: int, says: str, file: Path) -> None:
    ended = against(*(str(file) if part == "FILE" else part for part in arguments))
    assert ended.returncode == code, ended.stderr
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1

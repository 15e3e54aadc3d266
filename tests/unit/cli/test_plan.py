"""`multinode plan` as a process: answers, exit codes, one line for a mistake, and what it imports."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from unit.sizing.models import config, small

_RUN = "import sys; sys.argv = ['multinode', 'plan', *{arguments!r}]\n{before}\n"
_MAIN = "from vllm_multinode.cli.main import main; main()"


def plan(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    program = _RUN.format(arguments=list(arguments), before=before) + _MAIN
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(small()))
    return tmp_path


def test_the_spec_is_what_render_takes(folder: Path) -> None:
    written = plan(str(folder), "--gpu", "L4", "-o", "spec")
    assert written.returncode == 0, written.stderr
    program = "import sys; sys.argv = ['multinode', 'render', '-f', '-', '--out', '-']; " + _MAIN
    rendered = subprocess.run(
        [sys.executable, "-c", program],
        input=written.stdout, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert rendered.returncode == 0, rendered.stderr
    kinds = [document["kind"] for document in yaml.safe_load_all(rendered.stdout)]
    assert "InferenceService" in kinds


def test_what_does_not_fit_has_no_spec(folder: Path) -> None:
    ended = plan(str(folder), "--gpu", "tiny", "--gpu-memory", "0.1", "--nodes", "1", "-o", "spec")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (3, "", 1)


def test_no_gpu_was_named(folder: Path) -> None:
    ended = plan(str(folder))
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


KEYS = {
    "fits", "tensor_parallel", "pipeline_parallel", "nodes", "gpus_per_node", "memory", "max_context",
    "max_concurrency", "claim_gib", "alternatives", "reasons",
}  # fmt: skip


def test_json_has_the_promised_keys(folder: Path) -> None:
    ended = plan(str(folder), "--gpu", "L4", "-o", "json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    assert found.keys() >= KEYS
    parts = ("weights", "kv_cache", "activations", "graphs", "reserve", "left")
    assert sum(found["memory"][part] for part in parts) == pytest.approx(found["memory"]["usable"], abs=0.05)


def test_yaml_says_the_same(folder: Path) -> None:
    arguments = (str(folder), "--gpu", "L4", "-o")
    assert yaml.safe_load(plan(*arguments, "yaml").stdout) == json.loads(plan(*arguments, "json").stdout)


@pytest.mark.parametrize("way", ["folder", "file", "catalogue"])
def test_every_way_to_name_a_model(way: str, folder: Path) -> None:
    names = {"folder": str(folder), "file": str(folder / "config.json"), "catalogue": "llama-3.1-8b-instruct"}
    ended = plan(names[way], "--gpu", "H100", "--context", "1024", "--explain")
    assert ended.returncode == 0, ended.stderr
    assert "fits on 1 node x 1 GPU (TP 1, PP 1)" in ended.stdout
    assert "Sum on the fullest GPU" in ended.stdout


def test_what_does_not_fit_is_three_and_names_the_smallest_that_would(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config("deepseek-v3")))
    ended = plan(str(file), "--gpu", "H100", "--nodes", "1", "-o", "json")
    assert ended.returncode == 3
    found = json.loads(ended.stdout)
    assert not found["fits"]
    assert found["smallest"]["nodes"] == 2
    assert found["smallest"]["tensor_parallel"] == 8
    assert found["smallest"]["pipeline_parallel"] == 2


def test_nodes_of_unequal_counts_are_used_with_reasons(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config("llama-3.3-70b")))
    ended = plan(str(file), "--gpu", "L40S", "--gpus-per-node", "4,4,2", "--context", "8192", "-o", "json")
    found = json.loads(ended.stdout)
    assert (found["nodes"], found["gpus_per_node"]) == (1, 4)
    assert any("Nodes have 4, 4, 2 GPUs" in reason for reason in found["reasons"])


def test_a_node_shape_says_how_many_gpus_it_has(folder: Path) -> None:
    found = json.loads(plan(str(folder), "--gpu", "g6.12xlarge", "--nodes", "1", "-o", "json").stdout)
    assert found["gpu"] == "L4"
    assert found["replicas"] * found["gpus_per_node"] == 4


@pytest.mark.parametrize(
    ("content", "arguments", "code", "says"),
    [
        pytest.param('{"hidden_size": 4096, "num_', (), 21, "is not JSON", id="truncated"),
        pytest.param("[]", (), 21, "is not a JSON object", id="not-an-object"),
        pytest.param('{"hidden_size": 8}', (), 21, "num_hidden_layers is missing", id="lacks-a-field"),
        pytest.param(json.dumps(small(vocab_size=10**12)), (), 21, "vocab_size", id="absurd"),
        pytest.param(json.dumps(small()), ("--context", "9000"), 11, "limit of 8192", id="context"),
        pytest.param(json.dumps(small()), ("--gpus-per-node", "x"), 2, "--gpus-per-node 'x'", id="gpus"),
        pytest.param(json.dumps(small()), ("--utilization", "7"), 2, "utilization is 7", id="utilization"),
        pytest.param(json.dumps(small()), ("--gpu", "H1000"), 2, "node shape 'H1000'", id="gpu"),
    ],
)
def test_a_mistake_is_one_line(
    content: str, arguments: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(content)
    ended = plan(str(tmp_path), "--gpu", "L4", *arguments)
    assert ended.returncode == code, ended.stderr
    assert says in ended.stderr
    assert ended.stderr.startswith("multinode: ")
    assert ended.stderr.count("\n") == 1


def test_nothing_heavy_is_imported_and_nothing_is_asked_of_a_network(folder: Path) -> None:
    heavy = (
        "torch", "vllm", "ray", "numpy", "transformers", "kubernetes", "kserve", "aiohttp", "rich",
        "pydantic", "asyncio",
    )  # fmt: skip
    before = (
        "import atexit, socket\n"
        "socket.socket = None\n"
        f"atexit.register(lambda: sys.stderr.write('LOADED %s' % (set({heavy!r}) & set(sys.modules))))"
    )
    ended = plan(str(folder), "--gpu", "L4", before=before)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "LOADED set()"

"""`multinode plan hf://…` as a process, against a hub on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sources import hub
from sources.servers import serve
from unit.sizing.models import small

_MAIN = "from vllm_multinode.cli.main import main; main()"
CONFIG = {"config.json": json.dumps(small()).encode()}


def run(*arguments: str, endpoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", _MAIN, *arguments],
        capture_output=True, text=True, timeout=90, check=False,
        env={**kept, "HF_ENDPOINT": endpoint, "HF_HOME": "/nonexistent", **environment},
    )  # fmt: skip


def test_a_model_of_a_hub_is_planned_as_a_folder_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(CONFIG["config.json"])
    with serve(hub.hub(CONFIG, gated=True)) as server:
        ended = run(
            "plan", "hf://org/name@main", "--gpu", "L4", "-o", "json", endpoint=server.url, HF_TOKEN=hub.TOKEN
        )
    assert ended.returncode == 0, ended.stderr
    local = run("plan", str(tmp_path), "--gpu", "L4", "-o", "json", endpoint="")
    from_hub, from_folder = json.loads(ended.stdout), json.loads(local.stdout)
    assert from_hub["memory"] == from_folder["memory"]
    assert from_hub["model"] == "hf://org/name"
    assert hub.TOKEN not in ended.stdout + ended.stderr


def test_a_gated_model_is_one_line() -> None:
    with serve(hub.hub(CONFIG, gated=True)) as server:
        ended = run("plan", "hf://org/name", "--gpu", "L4", endpoint=server.url)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (81, "", 1)
    assert "Accept its licence" in ended.stderr


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param("hf://org/name", "or a config.json", id="unknown-offline"),
        pytest.param("hf://openai/gpt-oss-20b@v1", "openai/gpt-oss-20b.", id="known-offline"),
    ],
)
def test_without_the_hub_the_way_out_is_named(model: str, says: str) -> None:
    ended = run("plan", model, "--gpu", "L4", endpoint="http://127.0.0.1:9")
    assert (ended.returncode, ended.stderr.count("\n")) == (80, 1)
    assert says in ended.stderr


def test_validate_takes_it_too(tmp_path: Path) -> None:
    file = tmp_path / "map.yaml"
    file.write_text(
        "apiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\nmetadata: {name: a}\n"
        "spec: {leaderWorkerTemplate: {workerTemplate: {spec: {containers: [{name: a}]}}}}\n"
    )
    with serve(hub.hub(CONFIG)) as server:
        arguments = ("validate", "-f", str(file), "--model", "hf://org/name")
        ended = run(*arguments, endpoint=server.url)
        assert any(one.path.endswith("/config.json") for one in server.asked)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("model", ["hf://org", "hf://user:aToken@org/name", "hf://org/name?token=aToken"])
def test_an_address_that_cannot_be_says_how_it_is_written(model: str) -> None:
    ended = run("plan", model, "--gpu", "L4", endpoint="http://127.0.0.1:9")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "hf://org/name@revision" in ended.stderr
    assert "aToken" not in ended.stderr

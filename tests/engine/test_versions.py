"""The range of vLLM that the launcher supports: parsers take what it builds, and engines on CPU serve."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engine.conftest import Start, Step
from engine.services import LocalGroup, service
from unit.launcher.pods import node, plan
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.engines.vllm import vllm
from vllm_multinode.launcher.commands import build
from vllm_multinode.launcher.commands.cpu import cpu_environment
from vllm_multinode.launcher.commands.parser import Answer, ask
from vllm_multinode.launcher.identity import installed_versions
from vllm_multinode.local.run import isvc
from vllm_multinode.local.versions import engine_of_version

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here"),
]

HERE = "installed"
OLDER = ("0.10.1.1", "0.12.0", "0.18.0", "0.24.0")
"""Each is installed into a cached environment; only with --all-versions, but for ORDINARY."""
ORDINARY = "0.24.0"
PATIENCE = 300.0
USERS = ("--dtype", "float32", "--max-model-len", "2048", "--max_num_seqs=4")


def tried(config: pytest.Config, version: str) -> Path:
    """That version's interpreter; skips what an ordinary run leaves out."""
    if version == HERE:
        return Path(sys.executable)
    if version != ORDINARY and not config.getoption("--all-versions"):
        pytest.skip("only with --all-versions")
    # Over Ray every version runs that is installed here.
    return engine_of_version(version, isvc.cache_directory(), print, "ray")


async def answer(python: Path, version: str, arguments: Sequence[str], folder: Path) -> Answer:
    """What its parser says, in the environment that the launcher gives the engine."""
    environment = cpu_environment(node_address="127.0.0.1", interface=None, version=version)
    metadata = folder / f"vllm-{version}+cpu.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
    environment |= {"HOME": str(folder), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)}
    found = await ask(arguments, environment, python=str(python))
    assert found is not None
    return found


@pytest.mark.parametrize("version", [pytest.param(one, id=one) for one in (HERE, *OLDER)])
async def test_the_parser_takes_what_is_built_and_refuses_what_is_not_there(
    request: pytest.FixtureRequest, made_model: Path, tmp_path: Path, version: str
) -> None:
    python = tried(request.config, version)
    number = installed_versions().vllm if version == HERE else version
    lines = []
    for executor in ("ray", "mp"):
        if executor == "mp" and not vllm(number).multi_node_mp:
            continue
        told = plan(
            executor=executor, accelerator="cpu", model_dir=made_model, arguments=(str(made_model), *USERS)
        )
        for rank in (0, 1):
            processes = build(told, node(rank, vllm=number))
            lines += [process.argv[2:] for process in processes if process.name == "vllm"]
    assert len(lines) == (3 if vllm(number).multi_node_mp else 1)
    for line in lines:
        assert (await answer(python, number, line, tmp_path)).refused is None
    refused = await answer(python, number, (*lines[0], "--model_name", "x"), tmp_path)
    assert "unrecognized arguments: --model" in (refused.refused or "")
    assert "--served-model-name" in refused.options


def case(version: str, executor: ExecutorName) -> Any:
    return pytest.param(version, executor, id=f"{version}-{executor}")


@pytest.mark.parametrize(
    ("version", "executor"),
    [
        case("0.12.0", "mp"),
        case("0.12.0", "ray"),
        case("0.18.0", "mp"),
        case("0.18.0", "ray"),
        case("0.24.0", "mp"),
        case("0.24.0", "ray"),
        # Not 0.10.1.1: its CPU build needs a newer libstdc++ than Debian 12's.
    ],
)
def test_an_older_engine_serves_over_two_nodes(
    start: Start,
    made_model: Path,
    step: Step,
    request: pytest.FixtureRequest,
    version: str,
    executor: ExecutorName,
) -> None:
    if executor != "mp" and not request.config.getoption("--all-versions"):
        pytest.skip("only with --all-versions")
    python = tried(request.config, version)
    local = service(made_model, executor=executor, args=USERS, env={"MULTINODE_START_ATTEMPTS": "1"})
    pods = isvc.pods(local.model_copy(update={"engine": python}), isvc.cache_directory())
    group: LocalGroup = start(pods)
    with step(f"vLLM {version} over {executor}: cold start"):
        status = group.wait_until_serving(1, PATIENCE)
    assert status["recoveries"] == 0
    first = group.ask(tokens=16).text
    assert first
    # Both stages work on it: the same greedy words each time.
    assert group.ask(tokens=16).text == first
    assert group.api("/version")["version"].startswith(version)

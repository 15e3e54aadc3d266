"""Holds our reading of vLLM's arguments to vLLM's own parser, in a process of its own."""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from vllm_multinode.launcher import arguments

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("vllm") is None, reason="vllm is not installed, so its parser cannot be asked"
    ),
]

LINES = [
    ["-tp", "4", "-pp=2"],
    ["-t", "2"],
    ["-n2", "-r=1"],
    ["--tensor_parallel_size=4", "--port", "1100", "--port=1200"],
    ["--tensor-par", "+4", "--node", "3"],
    ["--served-model-name", "a", "b", "--headless"],
    ["m", "--api-server-count", "0"],
    ["-asc", "3", "--", "m"],
    ["--port=1100", "m"],
    ["--data-parallel-size-local", "1", "-dp", "1"],
]
NAMES = [
    "--api-server-count",
    "--data-parallel-size",
    "--data-parallel-size-local",
    "--node-rank",
    "--nnodes",
    "--pipeline-parallel-size",
    "--port",
    "--tensor-parallel-size",
]
PROBE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
lines = json.load(sys.stdin)
parsed = [{name: str(value) for name, value in vars(parser.parse_args(line)).items()} for line in lines]
options = [action.option_strings for action in parser._actions if action.option_strings]
print(json.dumps({"parsed": parsed, "options": options}))
"""


@pytest.fixture(scope="module")
def vllms_own() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps(LINES),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_values_are_read_as_vllm_reads_them(vllms_own: dict[str, Any]) -> None:
    for line, parsed in zip(LINES, vllms_own["parsed"], strict=True):
        for option in arguments.options(line, dict.fromkeys(NAMES, arguments.Fixed(None, ""))):
            if option.name == arguments.MODEL:
                assert parsed["model_tag"] == option.value
        for name in NAMES:
            mine = arguments.last_value(line, name)
            if mine is not None:
                assert int(parsed[name.strip("-").replace("-", "_")]) == int(mine), (line, name)


def test_every_name_of_ours_is_vllms(vllms_own: dict[str, Any]) -> None:
    long_names = {name for names in vllms_own["options"] for name in names if name.startswith("--")}
    short = {name: names for names in vllms_own["options"] for name in names if not name.startswith("--")}
    for name, long_name in arguments._SHORT.items():
        assert long_name in short[name]
    # `vllm serve` adds --grpc and --config to what the API server's own parser takes.
    assert set(arguments.ONE_ENGINE) - long_names <= {"--grpc"}
    beginnings = {
        name for name in long_names for other in long_names if other != name and other.startswith(name)
    }
    assert beginnings <= arguments._COMPLETE

"""The command line as a process: other systems, usage errors, and what it imports."""

import subprocess
import sys

import pytest

# What the libraries themselves decide by the platform is loaded before it is another one.
_ELSEWHERE = """
import sys, click, rich.console, rich.live, rich.table, pydantic, asyncio, subprocess, tempfile, yaml
class Loaded(pydantic.BaseModel):
    a: int
for module in {absent}:
    sys.modules[module] = None
sys.platform = {platform!r}
sys.argv = ["multinode", "local", {command!r}]
from vllm_multinode.cli.main import main
main()
"""
_UNIX_ONLY = ("fcntl", "pwd", "grp", "resource", "termios")


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", ["status", "clean", "stop"])
@pytest.mark.parametrize(
    ("platform", "absent", "name"),
    [
        pytest.param("darwin", (), "macOS", id="macos"),
        pytest.param("win32", _UNIX_ONLY, "Windows", id="windows"),
    ],
)
def test_another_system_is_one_line(platform: str, absent: tuple[str, ...], name: str, command: str) -> None:
    ended = python(_ELSEWHERE.format(platform=platform, absent=absent, command=command))
    assert ended.returncode == 60, ended.stderr
    assert name in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["bogus"], id="unknown-command"),
        pytest.param(["local", "kill"], id="missing-argument"),
        pytest.param(["local", "run", "--model", ".", "--nodes", "none"], id="not-a-number"),
        pytest.param(["local", "run", "--model", ".", "--executor", "slurm"], id="unknown-choice"),
    ],
)
def test_usage_error_is_one_line(arguments: list[str]) -> None:
    ended = python(f"import sys; sys.argv = ['multinode', *{arguments!r}]\n" + _MAIN)
    assert ended.returncode == 2
    assert ended.stderr.startswith("multinode: ")
    assert ended.stderr.count("\n") == 1


_MAIN = "from vllm_multinode.cli.main import main; main()"
_HEAVY = ("torch", "vllm", "ray", "numpy", "transformers", "pyroute2", "kubernetes", "kserve")


@pytest.mark.parametrize(
    ("arguments", "never"),
    [
        pytest.param(["--help"], (*_HEAVY, "aiohttp"), id="help"),
        pytest.param(["local", "--help"], (*_HEAVY, "aiohttp"), id="local-help"),
        pytest.param(["head"], (*_HEAVY, "click", "rich"), id="head"),
        pytest.param(["worker"], (*_HEAVY, "click", "rich"), id="worker"),
    ],
)
def test_what_is_imported(arguments: list[str], never: tuple[str, ...]) -> None:
    program = (
        f"import sys, atexit; sys.argv = ['multinode', *{arguments!r}]\n"
        f"atexit.register(lambda: print('LOADED', sorted(set({never!r}) & set(sys.modules))))\n" + _MAIN
    )
    assert python(program).stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        pytest.param("aiohttp", ["head"], "", id="head"),
        pytest.param("prometheus_client", ["worker"], "", id="worker"),
        pytest.param("requests", ["fetch", "hf://org/name", "model"], "", id="fetch"),
        pytest.param("click", ["plan", "x"], "", id="plan"),
        pytest.param("kubernetes", ["wait", "x"], "[cluster]", id="wait"),
    ],
)
def test_what_is_not_installed_is_one_line(module: str, arguments: list[str], extra: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['multinode', *{arguments!r}]\n"
        "from vllm_multinode.cli.main import main; main()"
    )
    ended = python(program)
    assert ended.returncode in (2, 76), ended.stderr
    assert f"vllm-multinode{extra}'" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("role", ["head", "worker"])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_a_role_needs_no_variable(role: str, option: str) -> None:
    ended = python(f"import sys; sys.argv = ['multinode', {role!r}, {option!r}]\n" + _MAIN)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"Usage: multinode {role} ")


def test_nothing_is_asked_for_and_the_help_is_printed() -> None:
    ended = python("import sys; sys.argv = ['multinode']\n" + _MAIN)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Usage: multinode ")

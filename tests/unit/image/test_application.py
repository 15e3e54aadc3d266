"""The launcher as a zip application, in a Python environment that plays a released image of vLLM."""

import ast
import asyncio
import base64
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unit.image.images import lose, run
from vllm_multinode.authoring.render import application
from vllm_multinode.cli import application as entry
from vllm_multinode.contract.exit_codes import ExitCode


@pytest.fixture
def zipped(tmp_path: Path) -> str:
    """The application as a ConfigMap's volume has it."""
    path = tmp_path / application.FILE
    path.write_bytes(application.archive())
    path.chmod(0o444)
    return str(path)


def fails(image: Path, *command: str, **environment: str) -> tuple[int, str]:
    """Exit status of a command, and what it says."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(image, list(command), cwd="/", environment=environment)
    assert "Traceback" not in caught.value.stderr
    return caught.value.returncode, caught.value.stderr.strip()


def test_it_is_the_same_whenever_it_is_made() -> None:
    first = application.archive()
    application.archive.cache_clear()
    assert application.archive() == first


def test_kubectl_apply_takes_its_config_map() -> None:
    """The annotation with the last applied configuration holds the whole object."""
    document = application.config_map({})
    assert len(json.dumps(document)) < application.LIMIT * 0.9
    assert base64.b64decode(document["binaryData"][application.FILE]) == application.archive()
    assert document["metadata"]["name"].endswith(application.digest())


def test_what_is_shortened_does_the_same_in_the_same_lines() -> None:
    source = '''
"""A text."""
def decorated(): ...
class Known:
    """Another."""
    @property
    def kept(self) -> int:
        return 1  # a comment
    async def wait(self, text: str = "-> x") -> "list[int]":
        if text:
            return [
                len("""    four
        lines"""),
            ]
        return []
def umlaut(a: str = "ä") -> str: return a
def told(one: str) -> str: return f"{one} = " + umlaut( one )
'''
    short = application._shortened(source).decode()
    assert "A text" not in short
    assert "a comment" not in short
    assert "list[int]" not in short
    assert "->int" in short
    assert "->str" not in short
    assert "return[" in short
    assert "{one} = " in short
    assert short.count("\n") == source.count("\n")
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    exec(source, before)
    exec(short, after)
    for names in (before, after):
        assert asyncio.run(names["Known"]().wait()) == [22]
        assert names["Known"]().kept == 1
        assert names["told"]("a") == "a = a"
    assert before["umlaut"].__code__.co_firstlineno == after["umlaut"].__code__.co_firstlineno


def test_a_module_without_its_comments_is_the_same() -> None:
    root = Path(application.__file__).parents[2]
    for path in (root / "launcher").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        short = application._without_comments_and_spaces(source)
        assert short.count("\n") == source.count("\n"), path
        assert ast.dump(ast.parse(short)) == ast.dump(ast.parse(source)), path


def test_another_content_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = application.digest()
    sources = application._sources()
    monkeypatch.setattr(application, "_sources", lambda: sources | {"vllm_multinode/new.py": b""})
    application.digest.cache_clear()
    try:
        assert application.digest() != before
    finally:
        application.digest.cache_clear()


def test_every_module_in_it_imports_without_the_rest_of_the_package(base: Path, zipped: str) -> None:
    names = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in application.members(application.archive())
        if name.startswith("vllm_multinode/") and "plugin/" not in name
    ]
    script = (
        "import importlib, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    assert importlib.import_module(name).__file__.startswith(sys.argv[1]), name\n"
    )
    run(base, ["python3", "-c", script, zipped, *names], cwd="/")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["head"], ExitCode.VARIABLE, "TENSOR_PARALLEL_SIZE", id="head"),
        pytest.param(["worker"], ExitCode.VARIABLE, "HEAD_SVC", id="worker"),
        pytest.param(["fetch", "hf://org"], ExitCode.USAGE, "DIRECTORY", id="fetch"),
        pytest.param(["plan"], ExitCode.USAGE, "in a pod there are head, worker, fetch", id="plan"),
        pytest.param([], ExitCode.USAGE, "in a pod there are", id="nothing"),
    ],
)
def test_it_runs_in_the_image(base: Path, zipped: str, arguments: list[str], code: int, said: str) -> None:
    status, text = fails(base, "python3", zipped, *arguments)
    assert status == code
    assert said in text


def test_live_asks_the_supervisor(base: Path, zipped: str) -> None:
    assert fails(base, "python3", zipped, "live", MULTINODE_SUPERVISOR_PORT="9") == (1, "")


def test_it_says_its_version_with_its_digest(base: Path, zipped: str) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from vllm_multinode.launcher.identity import installed_versions, zip_application\n"
        "print(installed_versions().multinode, zip_application())"
    )
    said = run(base, ["python3", "-c", script, zipped], cwd="/").stdout.split()
    assert said == [f"{importlib.metadata.version('vllm-multinode')}+{application.digest()}", zipped]


def test_the_cpu_plugin_is_found_in_it(base: Path, zipped: str) -> None:
    script = (
        "from importlib.metadata import entry_points\n"
        "print(*[one.value for one in entry_points(group='vllm.platform_plugins')])"
    )
    said = run(base, ["python3", "-c", script], cwd="/", environment={"PYTHONPATH": zipped}).stdout
    assert said == "vllm_multinode.plugin:cpu_platform\n"


@pytest.mark.parametrize(
    ("lost", "role", "said"),
    [
        pytest.param("vllm-0.32.0.dist-info", "head", "lacks vLLM.", id="no-vllm"),
        pytest.param("aiohttp-*.dist-info", "worker", "lacks aiohttp 3.10 or newer.", id="no-aiohttp"),
        pytest.param("requests-*.dist-info", "fetch", "lacks requests 2.32 or newer.", id="no-requests"),
    ],
)
def test_what_an_image_lacks_is_one_line(image: Path, zipped: str, lost: str, role: str, said: str) -> None:
    lose(image, lost)
    log = image / "termination-log"
    log.touch()
    status, text = fails(image, "python3", zipped, role, MULTINODE_TERMINATION_LOG=str(log))
    assert status == ExitCode.IMAGE == entry.LACKING
    assert said in text
    assert len(text.splitlines()) == 1
    assert log.read_text().strip() == text


def test_an_older_package_is_named_with_the_version_that_is_there(image: Path, zipped: str) -> None:
    lose(image, "aiohttp-*.dist-info")
    old = next(image.glob("lib/python*/site-packages")) / "aiohttp-3.8.6.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: aiohttp\nVersion: 3.8.6\n")
    _, text = fails(image, "python3", zipped, "head")
    assert "aiohttp 3.10 or newer (it has 3.8.6)" in text


def test_fetch_needs_no_vllm(image: Path, zipped: str) -> None:
    lose(image, "vllm-0.32.0.dist-info")
    assert fails(image, "python3", zipped, "fetch", "hf://org")[0] == ExitCode.USAGE


@pytest.mark.parametrize(
    "first_lines",
    [
        pytest.param("#!{python}\n", id="shebang"),
        pytest.param("#!/usr/bin/env python3\n", id="env"),
        pytest.param("#!/bin/sh\n'exec' '{python}' \"$0\" \"$@\"\n", id="through-sh"),
    ],
)
def test_another_python_on_path_hands_over_to_that_of_vllm(
    image: Path, zipped: str, tmp_path: Path, first_lines: str
) -> None:
    script = image / "bin" / "vllm"
    script.write_text(first_lines.format(python=image / "bin" / "python3"))
    script.chmod(0o755)
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True, timeout=60)
    path = os.pathsep.join((str(image / "bin"), "/usr/bin", "/bin"))
    status, text = fails(image, str(bare / "bin" / "python3"), zipped, "head", PATH=path)
    assert (status, "TENSOR_PARALLEL_SIZE" in text) == (ExitCode.VARIABLE, True)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("#!/bin/bash\nexec python -m vllm\n", id="shell"),
        pytest.param("#!/nowhere/python3\n", id="gone"),
        pytest.param("\x7fELF", id="binary"),
    ],
)
def test_a_vllm_that_names_no_python_is_none(tmp_path: Path, content: str) -> None:
    script = tmp_path / "vllm"
    script.write_text(content)
    script.chmod(0o755)
    assert entry.python_of_vllm(str(tmp_path)) is None

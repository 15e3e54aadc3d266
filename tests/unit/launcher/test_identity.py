"""Versions of what is installed."""

from pathlib import Path

import pytest

from vllm_multinode.launcher.identity import _driver, installed_versions


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param(
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\nGCC 12",
            "535.129.03", id="closed",
        ),
        pytest.param(
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65  Release Build\n", "580.65",
            id="open",
        ),
        pytest.param("", None, id="empty"),
    ],
)  # fmt: skip
def test_driver(tmp_path: Path, text: str, version: str | None) -> None:
    file = tmp_path / "version"
    file.write_text(text)
    assert _driver(file) == version


def test_no_driver(tmp_path: Path) -> None:
    assert _driver(tmp_path / "version") is None


def test_python_is_always_there() -> None:
    assert installed_versions().python.startswith("3.")

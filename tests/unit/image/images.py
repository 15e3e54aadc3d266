"""A Python environment that plays an image of vLLM."""

import os
import shutil
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest

ABSENT = (
    *("click", "rich", "ray", "boto", "vllm_multinode", "__editable__", "vllm", "_vllm"),
    # The environment that plays the image brings its own.
    *("pip", "uv", "setuptools", "pkg_resources", "_distutils_hack"),
)
"""What a vLLM image may lack, or has otherwise than the environment of the tests."""


def make_image(image: Path) -> Path:
    """What a vLLM image has: a vLLM and what that needs, and neither click nor rich nor Ray."""
    venv.create(image, symlinks=True, with_pip=True)
    packages = next(image.glob("lib/python*/site-packages"))
    for entry in Path(pytest.__file__).parents[1].iterdir():
        if not entry.name.startswith(ABSENT) and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    vllm = packages / "vllm-0.32.0.dist-info"
    vllm.mkdir()
    (vllm / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n")
    return image


def run(image: Path, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as the image would: its own Python first, no network, nothing built in isolation."""
    # Without the tests' own vLLM: the application looks on PATH for the Python that runs one.
    rest = [entry for entry in os.environ["PATH"].split(os.pathsep) if not (Path(entry) / "vllm").exists()]
    environment = {
        "PATH": os.pathsep.join((str(image / "bin"), *rest)),
        "HOME": str(image),
        "UV_NO_BUILD_ISOLATION": "1",
        "UV_OFFLINE": "1",
        # As pip reads it, this says "no" to isolation.
        "PIP_NO_BUILD_ISOLATION": "false",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        **options.pop("environment", {}),
    }
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=300, **options
    )


def lose(image: Path, pattern: str) -> None:
    """Take a distribution's metadata away."""
    (entry,) = next(image.glob("lib/python*/site-packages")).glob(pattern)
    entry.unlink() if entry.is_symlink() else shutil.rmtree(entry)

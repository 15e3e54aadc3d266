"""An image of vLLM, played by a Python environment: one for all tests, and a copy to change."""

import shutil
from pathlib import Path

import pytest

from unit.image.images import make_image


@pytest.fixture(scope="package")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a vLLM image has; do not change it."""
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.fixture
def image(base: Path, tmp_path: Path) -> Path:
    """A copy of the base to install into."""
    copied = tmp_path / "image"
    shutil.copytree(base, copied, symlinks=True)
    return copied

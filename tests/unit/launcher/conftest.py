"""A pod's folder for the tests that run the launcher as a process."""

from pathlib import Path

import pytest

from unit.launcher.launching import Launcher


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    return Launcher(tmp_path)

"""What every unit test shares."""

import os
import resource
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

_GIB = 1 << 30
_MOST_MEMORY = 8 * _GIB

# How fast a machine is must not decide whether a property holds.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# CI judges a change: it tries the same inputs each time, and whoever works on the code tries others.
settings.register_profile("ci", settings.get_profile("any-machine"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "any-machine")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks the real hub whether a model is there."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True, scope="session")
def _bounded_memory() -> Iterator[None]:
    """Let a test that would take the machine's memory end in a MemoryError with its name.

    Without it the kernel ends the whole run, and says nothing of the test.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _MOST_MEMORY if hard == resource.RLIM_INFINITY else min(_MOST_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))

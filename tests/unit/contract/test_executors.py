import pytest

from vllm_multinode.contract.executors import (
    DEFAULT_EXECUTOR,
    EXECUTOR_NAMES,
    EXECUTORS,
    KSERVE_EXECUTOR,
    counted_by_kserve,
)
from vllm_multinode.launcher.commands import _PROCESSES


def test_every_executor_has_a_record_and_a_way_to_start() -> None:
    assert set(EXECUTORS) == set(EXECUTOR_NAMES) == set(_PROCESSES)
    assert all(executor.name == name for name, executor in EXECUTORS.items())
    assert EXECUTORS[KSERVE_EXECUTOR].annotation is None
    assert not EXECUTORS[DEFAULT_EXECUTOR].needs_ray


@pytest.mark.parametrize(
    ("annotation", "counted"),
    [
        pytest.param("mp", "mp", id="exactly-so"),
        pytest.param("MP", "ray", id="other-case"),
        pytest.param("ray", "ray", id="default-said"),
        pytest.param(None, "ray", id="nothing"),
        pytest.param(7, "ray", id="no-text"),
    ],
)
def test_what_kserve_counts_for(annotation: object, counted: str) -> None:
    assert counted_by_kserve(annotation) == counted

"""Three groups behind the real router: even shares, a killed group under load, and its return."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

import cgroups
from engine.conftest import Start
from engine.services import LocalGroup, service
from engine.stand_ins import StandIns
from replicas.allowance import Allowance, allowances, cores_each
from replicas.measure import EVEN, Figures, measure, spread
from replicas.routers import PROGRAM
from replicas.serving import serving

WEIGHTS = (3, 5, 9, 19)
"""Connections of each client; the last one has as many as the others together, and more."""

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="no vllm-router here; the extra dev brings it")


@pytest.fixture
def groups(start: Start, made_model: Path, tmp_path: Path) -> list[LocalGroup]:
    """Three groups of two nodes, each with a stand-in engine that takes a quarter of a second a request."""
    found = []
    for number in range(3):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        stand_ins = StandIns(folder)
        stand_ins.tell("head", pace=0.25)
        found.append(start(stand_ins.pods(service(made_model))))
    for group in found:
        group.wait_until_serving(epoch=1)
    return found


def assert_shared(figures: Figures) -> None:
    assert not figures.tally.lost
    for counts in (figures.even, figures.without, figures.returned):
        assert spread(counts) <= EVEN, figures
    # Only what was under way when its head died, of which every other request is streamed.
    assert figures.tally.cut <= sum(WEIGHTS) / 2, figures


@contextmanager
def equal_allowances(groups: list[LocalGroup]) -> Iterator[list[Allowance]]:
    """So that the real engines are as fast as each other, as they are on nodes of their own."""
    with ExitStack() as ends:
        try:
            found = ends.enter_context(allowances(groups, cores_each(len(groups))))
        except cgroups.NoCgroupError as error:
            pytest.skip(f"the groups' speeds would differ: {error}")
        yield found


@pytest.mark.netns
def test_the_router_shares_evenly_and_loses_nothing(groups: list[LocalGroup], tmp_path: Path) -> None:
    assert_shared(measure(groups, tmp_path, weights=WEIGHTS, tokens=1, requests=1200, patience=120))


@pytest.mark.engine
@pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here; `multinode local install` installs it")
def test_it_does_so_with_the_real_engine(
    request: pytest.FixtureRequest, made_model: Path, tmp_path: Path
) -> None:
    if not request.config.getoption("--all-versions"):
        pytest.skip("six nodes take minutes; with --all-versions")
    with serving(made_model, 3, 600) as groups, equal_allowances(groups) as equal:
        assert_shared(
            measure(
                groups, tmp_path, allowances=equal, weights=WEIGHTS, tokens=2, requests=1000, patience=600
            )
        )

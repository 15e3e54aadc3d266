"""The attacks that take no long time, with a part of their number; `scripts/attack` has all of them."""

from pathlib import Path

import pytest

from attack.cases import CASES
from attack.run import run

# A machine that runs tests besides may be slow: here it counts that probes are answered at all.
SLOWEST = 5.0


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("silent", 2000),
        ("upgrades", 1000),
        ("upgrades-open", 1000),
        ("pipelined", 100),
        ("junk", 100),
        ("same-name", 60),
        ("same-name-token", 60),
        ("proofs", 60),
        ("replays", 20),
        ("rogue-member", 2000),
        ("frames", 50),
        ("comes-and-goes", 100),
        ("together", 300),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_group_stands_it(tmp_path: Path, name: str, count: int) -> None:
    outcome = run(name, CASES[name], tmp_path / "group", count=count, slowest=SLOWEST)
    assert not outcome.failures, "\n".join(outcome.failures)

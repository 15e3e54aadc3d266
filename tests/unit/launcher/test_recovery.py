import pytest

from unit.launcher.pods import settings_of
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.recovery import LONGEST_WAIT, Budget, Cause, Incident

MEMBER = Incident(Cause.MEMBER, "lost w")
ENGINE = Incident(Cause.ENGINE, "vllm exited with status 1")
STARVED = Incident(Cause.STARVED, "ray exited with status 1: timed out during startup")
HUNG = Incident(Cause.HUNG, "hung")
LEAVING = Incident(Cause.LEAVING, "w is leaving")


def budget(**changes: str) -> Budget:
    return Budget(settings_of("head", **changes).timings)


def test_the_first_recovery_starts_at_once_and_the_wait_doubles_up_to_a_minute() -> None:
    found = budget()
    assert [found.spend(MEMBER, served=1) for _ in range(8)] == [
        0,
        2,
        4,
        8,
        16,
        32,
        LONGEST_WAIT,
        LONGEST_WAIT,
    ]
    assert found.attempt == "recovery 8 of 10"


@pytest.mark.parametrize("incident", [ENGINE, HUNG], ids=["engine", "hung"])
def test_an_engine_that_never_serves_is_given_up(incident: Incident) -> None:
    found = budget()
    found.spend(incident, served=None)
    found.spend(incident, served=None)
    with pytest.raises(MultinodeError, match=f"failed to start 3 times: {incident.reason}") as given_up:
        found.spend(incident, served=None)
    assert given_up.value.code is ExitCode.ENGINE_START


def test_having_served_forgets_failed_starts() -> None:
    found = budget()
    for _ in range(3):
        found.spend(ENGINE, served=None)
        found.spend(ENGINE, served=None)
        found.spend(ENGINE, served=1)
    assert found.failed_starts == 0


@pytest.mark.parametrize("incident", [MEMBER, STARVED], ids=["lost-member", "slow-node"])
def test_what_says_nothing_of_the_engine_is_no_failed_start(incident: Incident) -> None:
    found = budget(MULTINODE_START_ATTEMPTS="1")
    found.spend(incident, served=None)
    assert found.failed_starts == 0


def test_recoveries_in_a_row_are_given_up_with_the_last_reason() -> None:
    found = budget(MULTINODE_RECOVERY_ATTEMPTS="2")
    found.spend(MEMBER, served=10)
    found.spend(MEMBER, served=10)
    with pytest.raises(
        MultinodeError, match=r"3 recoveries in a row, none of which served for 300 s; .*lost w"
    ) as no:
        found.spend(MEMBER, served=10)
    assert no.value.code is ExitCode.RECOVERY_BUDGET


def test_serving_long_enough_forgets_earlier_recoveries() -> None:
    found = budget(MULTINODE_RECOVERY_ATTEMPTS="1")
    for _ in range(5):
        assert found.spend(MEMBER, served=300) == 0
    assert found.total == 5


def test_a_worker_that_leaves_counts_as_a_recovery_and_not_as_a_failed_start() -> None:
    found = budget(MULTINODE_RECOVERY_ATTEMPTS="2", MULTINODE_START_ATTEMPTS="1")
    assert found.spend(LEAVING, served=None) == 0
    assert found.spend(LEAVING, served=None) > 0
    assert (found.recoveries, found.failed_starts, found.total) == (2, 0, 2)
    with pytest.raises(MultinodeError, match="w is leaving"):
        found.spend(LEAVING, served=None)

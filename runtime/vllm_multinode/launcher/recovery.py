"""How often to try again, and how long to wait before. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.settings import Timings

LONGEST_WAIT = 60.0


class Cause(StrEnum):
    """What ended an epoch."""

    MEMBER = "member"
    ENGINE = "engine"
    STARVED = "starved"
    HUNG = "hung"
    LEAVING = "leaving"


@dataclass(frozen=True)
class Incident:
    """Why the engine has to start again, in a line."""

    cause: Cause
    reason: str


@dataclass
class Budget:
    """Counts failed starts and recoveries in a row.

    Args:
        timings: the budgets, and what forgets them.
    """

    timings: Timings
    failed_starts: int = 0
    recoveries: int = 0
    total: int = field(default=0, init=False)

    def spend(self, incident: Incident, served: float | None) -> float:
        """Seconds to wait before the next start.

        Args:
            incident: what ended the epoch.
            served: seconds that the epoch served, None where it never did.

        Raises:
            MultinodeError: the budget is used up; carries the last reason.
        """
        self.total += 1
        if served is not None:
            self.failed_starts = 0
            if served >= self.timings.stable_after:
                self.recoveries = 0
        elif incident.cause in (Cause.ENGINE, Cause.HUNG):
            self.failed_starts += 1
        self.recoveries += 1
        if self.failed_starts >= self.timings.start_attempts:
            raise MultinodeError(
                ExitCode.ENGINE_START,
                f"the engine failed to start {self.failed_starts} times: {incident.reason}",
            )
        if self.recoveries > self.timings.recovery_attempts:
            raise MultinodeError(
                ExitCode.RECOVERY_BUDGET,
                f"{self.recoveries} recoveries in a row, none of which served for "
                f"{self.timings.stable_after:.0f} s; the last: {incident.reason}",
            )
        return self._wait()

    def _wait(self) -> float:
        """Nothing before the first recovery, then doubled each time."""
        if self.recoveries <= 1:
            return 0.0
        return min(self.timings.backoff * float(2 ** (self.recoveries - 2)), LONGEST_WAIT)

    @property
    def attempt(self) -> str:
        """For people: `recovery 2 of 10`."""
        return f"recovery {self.recoveries} of {self.timings.recovery_attempts}"

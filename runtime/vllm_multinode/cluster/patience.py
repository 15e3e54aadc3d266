"""How long a wait goes on: until it is over, its time is up, or a trouble has lasted too long."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vllm_multinode.cluster.pauses import pause
from vllm_multinode.cluster.pod_states import Trouble
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

POLL: Final = 2.0
"""Seconds between two looks."""


@dataclass
class Patience:
    """How long each trouble has lasted."""

    since: dict[str, float] = field(default_factory=dict)

    def used_up(self, troubles: Sequence[Trouble], now: float) -> Trouble | None:
        """The first trouble that has lasted too long."""
        present = {self._key(trouble) for trouble in troubles}
        self.since = {key: at for key, at in self.since.items() if key in present}
        for trouble in troubles:
            began = self.since.setdefault(self._key(trouble), now)
            if now - began >= trouble.patience:
                return trouble
        return None

    @staticmethod
    def _key(trouble: Trouble) -> str:
        # The text counts seconds and restarts; what lasts is the kind of trouble.
        return f"{trouble.subject} {trouble.what[:24]}"


class Look(NamedTuple):
    """An object that is waited for, as it is now."""

    over: bool
    line: str = ""
    """Empty where there is nothing to show."""
    troubles: Sequence[Trouble] = ()


@dataclass(frozen=True)
class Awaited:
    """An object that is waited for.

    Attributes:
        look: at it; None where it is not there.
        where: the object, for messages.
        state: as it should be, such as "ready".
    """

    look: Callable[[], Look | None]
    where: str
    state: str


def await_object(
    awaited: Awaited,
    *,
    timeout: float,
    show: Callable[[str], None],
    poll: float = POLL,
    cancel: threading.Event | None = None,
) -> None:
    """Return when an object is as it should be.

    Args:
        awaited: the object.
        timeout: seconds.
        show: called with a line whenever it differs from the one before.
        poll: seconds between two looks.
        cancel: ends the wait when it is set.

    Raises:
        MultinodeError: NOT_SERVING: it is gone, it is not so in time, or a trouble has used up its patience.
    """
    where = awaited.where
    ends, patience, shown = time.monotonic() + timeout, Patience(), ""
    while True:
        seen = awaited.look()
        if seen is None:
            raise MultinodeError(ExitCode.NOT_SERVING, "is gone.", where=where, hint="Deploy it again.")
        if seen.line and seen.line != shown:
            show(seen.line)
            shown = seen.line
        if seen.over:
            return
        if trouble := patience.used_up(seen.troubles, time.monotonic()):
            raise MultinodeError(
                ExitCode.NOT_SERVING,
                trouble.what,
                where=f"{where}: {trouble.subject}",
                hint=trouble.hint,
            )
        if time.monotonic() >= ends:
            what = f"is not {awaited.state} after {timeout:g} s: {seen.line}."
            raise MultinodeError(ExitCode.NOT_SERVING, what, where=where, hint="Increase --timeout.")
        pause(poll, cancel)

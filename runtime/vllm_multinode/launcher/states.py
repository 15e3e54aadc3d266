"""The states of a node, and the one place that changes them."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

log = logging.getLogger(__name__)


class State(StrEnum):
    """What a node does; design and `/status` use the same words."""

    PREFLIGHT = "preflight"
    FORMING = "forming"
    STARTING = "starting"
    SERVING = "serving"
    RECOVERING = "recovering"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Change:
    """One entry of the history: Unix time in seconds, state, reason."""

    at: float
    state: State
    reason: str


class Status:
    """The present state, how it came about, and a line in the log for each change.

    Args:
        on_change: called after each.
        hide: takes secrets out of a reason.
    """

    def __init__(self, on_change: Callable[[], None] | None = None, hide: Callable[[str], str] = str) -> None:
        self._hide = hide
        self.state = State.PREFLIGHT
        self.reason = ""
        self.served = False
        self.awaits_model = False
        self.history: deque[Change] = deque([Change(time.time(), self.state, "")], maxlen=50)
        self.on_change = on_change

    def set(self, state: State, reason: str = "") -> None:
        """Change the state; the same state with the same reason is no change."""
        reason = self._hide(reason)
        if (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        self.served = self.served or state is State.SERVING
        self.history.append(Change(time.time(), state, reason))
        log.info("state: %s%s", state, f" ({reason})" if reason else "")
        if self.on_change is not None:
            self.on_change()

    @property
    def since(self) -> float:
        """Unix time of the last change, in seconds."""
        return self.history[-1].at

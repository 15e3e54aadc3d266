"""Why workers were rejected: counted, and each reason told once."""

import logging
from collections.abc import Callable
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.launcher.events import Declined, Events
from vllm_multinode.launcher.text import printable

log = logging.getLogger(__name__)

_LONGEST: Final = 1000
# Refusals of peers that have proven nothing: told of at most so often, in seconds.
_STRANGERS_APART: Final = 1.0


class Refusals:
    """Of one head.

    Attributes:
        last: the reason that was told last; empty once it no longer matters.
        total: how many there were, told or not.

    Args:
        events: where they are told.
        now: the clock.
    """

    def __init__(self, events: Events, now: Callable[[], float]) -> None:
        self.last = ""
        self.total = 0
        self._events = events
        self._now = now
        self._told_at = -_STRANGERS_APART

    def add(self, error: MultinodeError, *, proven: bool) -> None:
        """Count one and tell of it, each reason once; of strangers at most one a second."""
        self.total += 1
        words = printable(str(error), _LONGEST)
        if words == self.last or (not proven and self._now() - self._told_at < _STRANGERS_APART):
            return
        self._told_at = self._now()
        self.last = words
        log.warning("refused: %s", words)
        self._events.tell(Declined(words, error.code))

    def remember(self, words: str) -> None:
        """A member has said itself why it is of no use; no event of its own."""
        self.last = printable(words, _LONGEST)

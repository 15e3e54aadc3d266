"""What happens to a group, for its head: who came, who is gone, whose engine ended, who was rejected."""

import asyncio
from dataclasses import dataclass
from typing import Final

from vllm_multinode.contract.exit_codes import ExitCode

__all__ = ["Declined", "Event", "Events", "Exited", "Joined", "Left", "Lost"]

_AT_LEAST: Final = 64
_PER_NODE: Final = 4


@dataclass(frozen=True)
class Joined:
    """A worker became a member."""

    pod: str


@dataclass(frozen=True)
class Lost:
    """A member is gone: its connection ended or fell silent."""

    pod: str
    reason: str


@dataclass(frozen=True)
class Exited:
    """A member's engine ended by itself."""

    pod: str
    epoch: int
    reason: str


@dataclass(frozen=True)
class Left:
    """A member was asked to stop and waits for the drain."""

    pod: str
    reason: str


@dataclass(frozen=True)
class Declined:
    """A worker was rejected for a reason that was not heard before."""

    reason: str
    code: ExitCode


Event = Joined | Lost | Exited | Left | Declined


class Events(asyncio.Queue[Event]):
    """A bounded queue. Who is a member now is what counts, so the oldest may go when nobody asks for them.

    Args:
        nodes: places of the group.
    """

    def __init__(self, nodes: int) -> None:
        super().__init__(maxsize=_AT_LEAST + _PER_NODE * nodes)

    def tell(self, event: Event) -> None:
        """Add one, in the oldest one's place where there are too many."""
        if self.full():
            self.get_nowait()
        self.put_nowait(event)

    def lost_besides(self) -> list[str]:
        """Members that were lost since the event that was taken last, in words; they are taken too."""
        waiting = [self.get_nowait() for _ in range(self.qsize())]
        for event in waiting:
            if not isinstance(event, Lost):
                self.put_nowait(event)
        return [f"lost {event.pod}: {event.reason}" for event in waiting if isinstance(event, Lost)]

    def forget(self) -> None:
        """Drop what happened so far: who is a member now is what counts."""
        while not self.empty():
            self.get_nowait()

"""What `multinode wait` shows: a live table on a terminal, a line for each change elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from vllm_multinode.cluster import pod_states
from vllm_multinode.cluster.snapshot import Snapshot, is_head
from vllm_multinode.terminal import live

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_COLOURS = {"serving": "green", "ready": "green", "failed": "red", "recovering": "yellow"}


class Row(NamedTuple):
    """One pod."""

    pod: str
    role: str
    node: str
    rank: str
    state: str


class Display(live.Display, Protocol):
    """Shows a wait."""

    def show(self, rows: list[Row]) -> None:
        """The pods as they are now."""


def rows(snapshot: Snapshot) -> Iterator[Row]:
    """A row for each pod of this generation, the head first, in the head's own words where it speaks."""
    members = {
        member.name: member
        for status in snapshot.heads.values()
        if status is not None
        for member in status.members
    }
    for pod in snapshot.current:
        name = str(pod["metadata"]["name"])
        head, member = snapshot.heads.get(name), members.get(name)
        state = pod_states.words(pod)
        if head is not None:
            state = head.state + (f" ({head.reason})" if head.reason else "")
        elif member is not None:
            state = member.state
        if member is not None and member.weights:
            state += f", weights {member.weights}"
        yield Row(
            pod=name,
            role="head" if is_head(pod) else "worker",
            node=str((pod.get("spec") or {}).get("nodeName") or "-"),
            rank="-" if member is None else str(member.rank),
            state=state,
        )


class Lines(live.Lines):
    """A line for each change of a pod."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(write)
        self._shown: dict[str, Row] = {}

    def show(self, rows: list[Row]) -> None:
        """Write what is new, and who is gone."""
        for row in rows:
            if self._shown.get(row.pod) != row:
                self.say(f"{row.role} {row.pod} ({row.node}): {row.state}")
        for gone in self._shown.keys() - {row.pod for row in rows}:
            self.say(f"{self._shown[gone].role} {gone}: gone")
        self._shown = {row.pod: row for row in rows}


class LiveTable(live.LiveTable):
    """A row for each pod, with the seconds since the start above them."""

    def __init__(self, console: "Console", title: str) -> None:
        super().__init__(console)
        self._title = title
        self._started = time.monotonic()

    def show(self, rows: list[Row]) -> None:
        """Draw it as it is now."""
        self.draw(table(f"{self._title}, {time.monotonic() - self._started:.0f} s", rows))


def table(title: str, rows: list[Row]) -> "Table":
    """One row a pod."""
    from rich.table import Table
    from rich.text import Text

    # Text, not markup: a reason may hold brackets.
    shown = Table(title=Text(title), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in Row._fields:
        # Names are there to be copied: folded where they do not fit, never cut.
        shown.add_column(column, justify="right" if column == "rank" else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row), style=_COLOURS.get(row.state.split(" ")[0], ""))
    return shown


def display(title: str) -> Display:
    """A table where standard output is a terminal, lines where it is not."""
    if sys.stdout.isatty():
        from rich.console import Console

        return LiveTable(Console(), title)
    return Lines(_write_line)


def _write_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

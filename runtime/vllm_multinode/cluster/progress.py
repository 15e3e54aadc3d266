"""What `multinode wait` shows: a live table on a terminal, a line for each change elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from vllm_multinode.cluster import pods
from vllm_multinode.cluster.snapshot import Snapshot, is_head

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


class Display(Protocol):
    """Shows a wait."""

    def show(self, rows: list[Row]) -> None:
        """The pods as they are now."""

    def say(self, text: str) -> None:
        """A line for the reader, once."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


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
        state = pods.words(pod)
        if head is not None:
            state = head.state + (f" ({head.reason})" if head.reason else "")
        elif member is not None:
            state = member.state
        yield Row(
            pod=name,
            role="head" if is_head(pod) else "worker",
            node=str((pod.get("spec") or {}).get("nodeName") or "-"),
            rank="-" if member is None else str(member.rank),
            state=state,
        )


class Lines:
    """A line for each change of a pod, with the seconds since the start."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._started = time.monotonic()
        self._shown: dict[str, Row] = {}

    def show(self, rows: list[Row]) -> None:
        """Write what is new, and who is gone."""
        for row in rows:
            if self._shown.get(row.pod) != row:
                self.say(f"{row.role} {row.pod} ({row.node}): {row.state}")
        for gone in self._shown.keys() - {row.pod for row in rows}:
            self.say(f"{self._shown[gone].role} {gone}: gone")
        self._shown = {row.pod: row for row in rows}

    def say(self, text: str) -> None:
        """Write a line."""
        self._write(f"{time.monotonic() - self._started:7.1f} s  {text}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put back."""


class LiveTable:
    """A table that is drawn again in place."""

    def __init__(self, console: "Console", title: str) -> None:
        from rich.live import Live

        self._title = title
        self._started = time.monotonic()
        self._live = Live(console=console, auto_refresh=False)

    def show(self, rows: list[Row]) -> None:
        """Draw it as it is now."""
        title = f"{self._title}, {time.monotonic() - self._started:.0f} s"
        self._live.update(table(title, rows), refresh=True)

    def say(self, text: str) -> None:
        """Write a line above the table."""
        self._live.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


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

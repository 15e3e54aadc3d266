"""What `multinode local run` shows: a live table on a terminal, a line for each change elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from vllm_multinode.local.world.protocol import NodeStatus, RunStatus

_COLOURS = {"serving": "green", "dead": "red", "failed": "red", "frozen": "cyan", "recovering": "yellow"}


class Display(Protocol):
    """Shows a run."""

    def show(self, status: RunStatus) -> None:
        """The run has changed."""

    def tick(self) -> None:
        """Time has passed."""

    def say(self, text: str) -> None:
        """A line for the reader, once."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lines:
    """A line for each change of a node, with the seconds since the start."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._started = time.monotonic()
        self._shown: dict[str, str] = {}

    def show(self, status: RunStatus) -> None:
        """Write what is new."""
        for node in status.nodes:
            words = f"{node.node} ({node.pod}, {node.address}): {node.shown}"
            if node.restarts and node.process == "running":
                words += f" (restarts: {node.restarts})"
            if self._shown.get(node.node) != words:
                self._shown[node.node] = words
                self.say(words)

    def tick(self) -> None:
        """Nothing: lines do not grow old."""

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

    def __init__(self, console: Console) -> None:
        self._status: RunStatus | None = None
        self._live = Live(console=console, auto_refresh=False)

    def show(self, status: RunStatus) -> None:
        """Draw it as it is now."""
        self._status = status
        self.tick()

    def tick(self) -> None:
        """Draw it with the time as it is now."""
        if self._status is not None:
            self._live.update(table(self._status, time.time()), refresh=True)

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


def table(status: RunStatus, now: float) -> Table:
    """One row a node.

    Args:
        status: what to show.
        now: Unix time that ages are counted to.
    """
    shown = Table(title=f"run {status.run}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("node", "pod", "address", "rank", "state", "since", "restarts"):
        right = column in ("rank", "since", "restarts")
        # Names are there to be copied: folded where they do not fit, never cut.
        shown.add_column(column, justify="right" if right else "left", overflow="fold")
    for node in status.nodes:
        shown.add_row(
            node.node,
            node.pod,
            node.address,
            "-" if node.rank is None else str(node.rank),
            node.shown,
            age(now - node.since),
            str(node.restarts),
            style=_colour(node),
        )
    return shown


def age(seconds: float) -> str:
    """A duration in a few letters, such as 12s or 3m04s."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02}s"


def _colour(node: NodeStatus) -> str:
    if node.cut:
        return "magenta"
    return _COLOURS.get(node.state if node.process == "running" else node.process, "")

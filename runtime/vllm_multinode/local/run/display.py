"""What `multinode local run` shows: a live table on a terminal, a line for each change elsewhere."""

import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console
from rich.table import Table

from vllm_multinode.local.world.protocol import NodeStatus, RunStatus
from vllm_multinode.terminal import live
from vllm_multinode.terminal.durations import age

_COLOURS = {"serving": "green", "dead": "red", "failed": "red", "frozen": "cyan", "recovering": "yellow"}


class Display(live.Display, Protocol):
    """Shows a run."""

    def show(self, status: RunStatus) -> None:
        """The run has changed."""

    def tick(self) -> None:
        """Time has passed."""


class Lines(live.Lines):
    """A line for each change of a node."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(write)
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


class LiveTable(live.LiveTable):
    """A row for each node, with its age."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._status: RunStatus | None = None

    def show(self, status: RunStatus) -> None:
        """Draw it as it is now."""
        self._status = status
        self.tick()

    def tick(self) -> None:
        """Draw it with the time as it is now."""
        if self._status is not None:
            self.draw(table(self._status, time.time()))


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


def _colour(node: NodeStatus) -> str:
    if node.cut:
        return "magenta"
    return _COLOURS.get(node.state if node.process == "running" else node.process, "")

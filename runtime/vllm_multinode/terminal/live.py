"""Lines with the seconds since the start, and a table that is drawn again in place."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


class Display(Protocol):
    """Shows something for as long as the block runs."""

    def say(self, text: str) -> None:
        """A line for the reader, once."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lines:
    """Lines, each with the seconds since the start."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._started = time.monotonic()

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

    def __init__(self, console: "Console") -> None:
        from rich.live import Live

        self._live = Live(console=console, auto_refresh=False)

    def draw(self, table: "Table") -> None:
        """Draw this one in the place of the last."""
        self._live.update(table, refresh=True)

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

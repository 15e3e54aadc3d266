"""Tables on a terminal: lines come as soon as they are known, and fit the width."""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import click

_GAP: Final = "  "


def terminal_width() -> int | None:
    """Columns of the terminal; None where the output goes somewhere else, which takes lines of any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def shorten(text: str, width: int) -> str:
    """The text in so many columns."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def echo(line: str) -> None:
    """Print a line; end the command without an error where nobody reads any more, as behind `| head`."""
    try:
        click.echo(line)
    except BrokenPipeError:
        # What is still buffered would be rejected once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(0) from None


class Table:
    """Writes lines of columns.

    Args:
        titles: of the columns; one that begins with > is aligned to the right.
        widths: of the columns.
        limit: columns that a line may take; None for any. The last columns are left out where it is less, and
            the first one is shortened where that does not suffice.
        write: writes one line.
    """

    def __init__(
        self,
        titles: Sequence[str],
        widths: Sequence[int],
        limit: int | None,
        write: Callable[[str], None] = echo,
    ) -> None:
        self._right = [title.startswith(">") for title in titles]
        self._titles = [title.removeprefix(">") for title in titles]
        self._widths = [max(width, len(title)) for width, title in zip(widths, self._titles, strict=True)]
        self._write = write
        while limit is not None and len(self._widths) > 1 and self.width > limit:
            if len(self._widths) == 2:
                self._widths[0] = max(8, self._widths[0] - (self.width - limit))
                break
            self._widths.pop()

    @property
    def width(self) -> int:
        """Columns of a line."""
        return sum(self._widths) + len(_GAP) * (len(self._widths) - 1)

    def head(self) -> None:
        """Write the titles."""
        self.line(self._titles)

    def line(self, cells: Sequence[str]) -> None:
        """Write one line."""
        written = [
            shorten(cell, width).rjust(width) if right else shorten(cell, width).ljust(width)
            for cell, width, right in zip(cells, self._widths, self._right, strict=False)
        ]
        self._write(_GAP.join(written).rstrip())


def widest(cells: Iterable[str]) -> int:
    """Columns that a column of these cells takes."""
    return max(map(len, cells), default=0)

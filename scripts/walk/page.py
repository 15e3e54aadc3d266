"""Console blocks of a page: commands, and the output that the page shows for them."""

import re
from dataclasses import dataclass
from pathlib import Path

from unit.docs.console import fences

_COMMENT = re.compile(r"\s{2,}#.*$")


@dataclass(frozen=True)
class Command:
    """One command line of a page.

    Attributes:
        line: as a shell takes it, without a trailing comment.
        shown: the output on the page; empty where it shows none.
        code: exit code that the page gives, in a comment `# exit code N`.
    """

    line: str
    shown: str
    code: int

    @property
    def program(self) -> str:
        """First word of the line, without its folder."""
        return Path(self.line.split()[0]).name

    @property
    def subcommand(self) -> str:
        """Second word of the line."""
        return [*self.line.split(), ""][1]


def commands(page: Path) -> list[Command]:
    """The commands of a page, in order."""
    found = []
    for text in fences(page, "console"):
        for part in re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            code = re.search(r"# exit code (\d+)", line)
            found.append(Command(_COMMENT.sub("", line), shown.strip("\n"), int(code[1]) if code else 0))
    return found

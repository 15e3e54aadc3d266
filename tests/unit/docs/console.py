"""The command lines of the documentation: what its pages tell a reader to type."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"# exit code (\d+)")
_MARKS = frozenset({"|", "&&", ";", "||", "<", ">", ">>"})


@dataclass(frozen=True)
class Typed:
    """One simple command of a page.

    Attributes:
        page: path in the repository.
        words: program and arguments, as the shell would split them.
        output: file that its standard output goes to; empty for the terminal.
        code: exit code that the page says, by a comment `# exit code N`.
    """

    page: str
    words: tuple[str, ...]
    output: str = ""
    code: int = 0

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def pages() -> list[Path]:
    """Every Markdown page of the repository but other people's."""
    patterns = ("*.md", "docs/**/*.md", "manifests/**/*.md", "overlays/**/*.md")
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern)})


def fences(page: Path, *languages: str) -> list[str]:
    """The texts of a page's fenced blocks in these languages."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [
        "\n".join(line.removeprefix(indent) for line in text.splitlines())
        for indent, language, text in found
        if language in languages
    ]


def typed(page: Path) -> list[Typed]:
    """What a page tells to type, in order: lines behind `$ `, continued ones joined, pipes taken apart."""
    name = str(page.relative_to(ROOT))
    commands = []
    for text in fences(page, "console"):
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                commands += _simple(name, line.removeprefix("$ "))
    return commands


def _simple(page: str, line: str) -> list[Typed]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands: list[Typed] = []
    words: list[str] = []
    output = mark = ""
    said = _CODE.search(line)
    code = int(said[1]) if said else 0
    for word in [*lexer, ";"]:
        if word in (">", ">>", "<"):
            mark = word
        elif mark:
            output, mark = (word if mark != "<" else output), ""
        elif word in _MARKS:
            if words:
                commands.append(Typed(page, tuple(words), output, code))
            words, output = [], ""
        else:
            words.append(word)
    return commands

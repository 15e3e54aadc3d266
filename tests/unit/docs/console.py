"""The command lines of the documentation: what its pages tell a reader to type."""

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[3]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"# exit code (\d+)")
_PROMPT = re.compile(r"^\$ ", re.MULTILINE)
_MARKS = frozenset({"|", "&&", ";", "||", "<", ">", ">>"})


@dataclass(frozen=True)
class Typed:
    """One simple command of a page.

    Attributes:
        page: path in the repository.
        words: program and arguments, as the shell would split them.
        output: file that its standard output goes to; empty for the terminal.
        code: exit code that the page says, by a comment `# exit code N`.
        shown: what the page shows below the line that this is the last command of; empty if nothing.
    """

    page: str
    words: tuple[str, ...]
    output: str = ""
    code: int = 0
    shown: str = ""

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
        for part in _PROMPT.split(text.replace("\\\n", " "))[1:]:
            line, _, shown = part.partition("\n")
            *first, last = _simple(name, line)
            commands += [*first, replace(last, shown=shown)]
    return commands


def agrees(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed.

    Every printed line has to be shown, in the same order, those of standard error last. A line `…` stands for
    any number of lines, `…` within a line for any text of that line. Empty lines do not count, and a run of
    spaces counts as one.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if words == ["…"] else f"{_line(words)}\n" for words in map(str.split, _filled(shown))
    )
    return (
        re.fullmatch(pattern, "".join(f"{' '.join(line.split())}\n" for line in _filled(printed))) is not None
    )


def _filled(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _line(words: list[str]) -> str:
    return ".*".join(map(re.escape, " ".join(words).split("…")))


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

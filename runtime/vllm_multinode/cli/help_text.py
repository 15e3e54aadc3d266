"""The texts of a command's help: what it is about, its options below their headings, its examples."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import click


@dataclass(frozen=True)
class Texts:
    """Of a command.

    Attributes:
        about: what it does, in paragraphs.
        examples: command lines.
    """

    about: str
    examples: tuple[str, ...]

    def write_examples(self, formatter: click.HelpFormatter) -> None:
        """The examples, as they are typed: a line that is longer than the terminal is continued with a \\."""
        if not self.examples:
            return
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write("".join(f"{line}\n" for line in _continued(example, formatter)))


def texts_of(documentation: str) -> Texts:
    """The parts of a function's documentation; its paragraphs that start with "multinode" are examples."""
    paragraphs = [" ".join(one.split()) for one in documentation.split("\n\n") if one.strip()]
    examples = [one for one in paragraphs if one.startswith("multinode ")]
    return Texts("\n\n".join(one for one in paragraphs if one not in examples), tuple(examples))


def write_options(
    params: Sequence[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """Arguments, then options, then those that have a heading of their own."""
    arguments = [
        (one.make_metavar(ctx), one.help)
        for one in params
        if isinstance(one, click.Argument) and hasattr(one, "help") and one.help
    ]
    if arguments:
        with formatter.section("Arguments"):
            formatter.write_dl(arguments, col_max=_first_column(formatter))
    options = [
        (getattr(one, "panel", ""), one.get_help_record(ctx))
        for one in params
        if isinstance(one, click.Option)
    ]
    options.sort(key=lambda pair: pair[0])
    for panel, pairs in itertools.groupby(options, key=lambda pair: pair[0]):
        with formatter.section(panel or "Options"):
            records = [record for _, record in pairs if record is not None]
            formatter.write_dl(records, col_max=_first_column(formatter))


def _first_column(formatter: click.HelpFormatter) -> int:
    """Columns of the names: up to click's 30, and fewer on a narrow terminal."""
    return min(30, max(4, formatter.width - 45))


def _panel(option: click.Option) -> str:
    return getattr(option, "panel", "")


def _continued(example: str, formatter: click.HelpFormatter) -> list[str]:
    indent = " " * formatter.current_indent
    lines, line = [], indent
    for word in example.split(" "):
        if line.strip() and len(line) + len(word) + 3 > formatter.width:
            lines.append(f"{line} \\")
            line = f"{indent}    {word}"
        else:
            line = f"{line} {word}" if line.strip() else f"{indent}{word}"
    return [*lines, line]

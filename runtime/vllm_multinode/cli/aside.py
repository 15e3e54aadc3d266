"""What stands beside a result, and how lines fit a terminal.

Notes go to standard error and progress to standard output, or to standard error where that holds JSON.
Neither is written with --quiet.
"""

import os
import re
import shutil
import sys
import textwrap
from typing import Final, TextIO

import click

from vllm_multinode.cli.declare import JSON, QUIET
from vllm_multinode.contract.finding import SEVERITIES

_FINDING: Final = re.compile(
    rf"(?P<place>.*?): (?P<severity>{'|'.join(SEVERITIES)}) (?P<rule>\S+): (?P<text>.*)"
)
_COLOURS: Final[dict[str, str]] = {"refused": "red", "stalls": "red", "risk": "yellow", "advice": "cyan"}


def quiet() -> bool:
    """Whether --quiet was given."""
    return _asked(QUIET)


def json_asked() -> bool:
    """Whether -o json was given."""
    return _asked(JSON)


def _asked(name: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.find_root().meta.get(name))


def aside(text: str) -> None:
    """A line on standard error; on a terminal no wider than that is."""
    if quiet():
        return
    click.echo(fitted(text, sys.stderr), err=True)


def fitted(text: str, stream: TextIO) -> str:
    """Text for a stream: on a terminal no line is wider than it, and no word is broken.

    A line that is continued keeps its indentation, and 2 columns more.
    """
    if not stream.isatty():
        return text
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return _wrapped(line.lstrip(), indent, f"{indent}  ") if len(line) > _width() else line


def finding_shown(line: str) -> str:
    """A finding's line as a terminal shows it: its place first, what is wrong below; elsewhere as it is."""
    parts = _FINDING.fullmatch(line)
    if parts is None or not sys.stdout.isatty():
        return line
    severity = parts["severity"]
    if _coloured(sys.stdout):
        severity = click.style(severity, fg=_COLOURS[severity])
    head = f"{_line(parts['place'])}\n  {severity} {parts['rule']}"
    return f"{head}\n{_wrapped(parts['text'], '    ', '    ')}"


def _coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _width() -> int:
    return max(20, shutil.get_terminal_size().columns)


def _wrapped(text: str, first: str, others: str) -> str:
    lines = textwrap.wrap(
        text,
        _width(),
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n".join(lines)


def progress(text: str) -> None:
    """A line at once: on standard output, or on standard error where that holds JSON."""
    if not quiet():
        click.echo(text, err=json_asked())

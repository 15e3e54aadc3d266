"""What stands beside a result: notes on standard error, progress on standard output; neither with --quiet."""

import shutil
import sys
import textwrap

import click

from vllm_multinode.cli.declare import QUIET


def quiet() -> bool:
    """Whether --quiet was given."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.find_root().meta.get(QUIET))


def aside(text: str) -> None:
    """A line on standard error; on a terminal no wider than that is."""
    if quiet():
        return
    if sys.stderr.isatty():
        width = max(20, shutil.get_terminal_size().columns)
        lines = textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)
        text = "\n".join(lines)
    click.echo(text, err=True)


def progress(text: str) -> None:
    """A line on standard output, at once."""
    if not quiet():
        click.echo(text)

"""docs/commands.md: every command with its options, as the command line itself declares them."""

from typing import Final

import click

from generators.repository import ROOT, Files
from vllm_multinode.cli.app import GOALS, IN_IMAGE, application

_HEAD: Final = """# Command line

`scripts/generate commands` writes this page from the commands. `multinode COMMAND --help` says the same.
[The reference](reference.md) explains what the larger commands do, step by step.
"""


def files() -> Files:
    """The page."""
    return {ROOT / "docs/commands.md": page()}


def page() -> str:
    """docs/commands.md."""
    root = application()
    context = click.Context(root, info_name="multinode")
    parts = [_HEAD]
    for goal, names in {**GOALS, "In a pod": IN_IMAGE}.items():
        parts.append(f"## {goal}\n")
        for name in names:
            command = root.get_command(context, name)
            if command is None:
                raise SystemExit(f"multinode {name} is listed and does not exist")
            parts += _sections(command, context, f"multinode {name}", 3)
    return "\n".join(parts)


def _sections(command: click.Command, parent: click.Context, path: str, depth: int) -> list[str]:
    """A command, and those below it, each with its heading."""
    context = click.Context(command, parent=parent, info_name=command.name)
    lines = [f"{'#' * depth} {path}\n"]
    texts = getattr(command, "texts", None)
    about = (texts.about if texts else "") or command.help or ""
    lines.append(_escaped(about) + "\n")
    records = [(param, _record(param, context)) for param in command.params]
    rows = [
        f"| `{names}` | {_escaped(text)} |" for _, (names, text) in records if names not in ("", "-h, --help")
    ]
    if rows:
        lines.append("\n".join(["| argument or option | meaning |", "|---|---|", *rows]) + "\n")
    if texts and texts.examples:
        lines.append("\n".join(["```console", *(f"$ {example}" for example in texts.examples), "```"]) + "\n")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                lines += _sections(below, context, f"{path} {name}", depth + 1)
    return lines


def _record(param: click.Parameter, context: click.Context) -> tuple[str, str]:
    """How a parameter is typed, and its line."""
    if isinstance(param, click.Option):
        names, text = param.get_help_record(context) or ("", "")
    else:
        names, text = param.make_metavar(context), getattr(param, "help", None) or ""
    return names.replace("|", "\\|"), text


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, also in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("](", "]\\(")

"""What a command answers: lines as they come, or one JSON document at the end.

With `-o json`, standard output holds that document alone. Notes and progress go to standard error, and so
does an error: as a JSON object on a line of its own, the last one.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import click

from vllm_multinode.cli.declare import Option
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

Output = Literal["text", "json"]
OutputFormat = Annotated[Output, Option("--output", "-o", help="text, or json for programs.")]


def as_json(result: Any) -> str:
    """A document for programs."""
    return json.dumps(result, indent=2, ensure_ascii=False)


def error_as_json(code: int, what: str, where: str = "", hint: str = "") -> str:
    """An error for programs, on one line.

    Args:
        code: the exit code.
        what: what is wrong.
        where: the variable, file, option or node that it was found in.
        hint: the way out.
    """
    error = {"code": code, "name": ExitCode(code).name, "what": what, "where": where, "hint": hint}
    return json.dumps({"error": error}, ensure_ascii=False)


def refusal_as_json(error: MultinodeError | click.ClickException) -> tuple[int, str]:
    """The exit code of an error, and the error for programs."""
    if isinstance(error, MultinodeError):
        return error.code, error_as_json(error.code, error.what, error.where, error.hint)
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "multinode"
    return ExitCode.USAGE, error_as_json(
        ExitCode.USAGE, error.format_message(), path, f"See `{path} --help`."
    )


class Answer:
    """A command's answer as it grows.

    Args:
        output: text writes each line at once; json keeps the fields.
    """

    def __init__(self, output: Output) -> None:
        self.json = output == "json"
        self.fields: dict[str, Any] = {}

    def line(self, text: str, **fields: Any) -> None:
        """A line of text, or fields of the document."""
        if self.json:
            self.fields.update(fields)
        else:
            click.echo(text)

    def item(self, text: str, name: str, value: Any) -> None:
        """A line of text, or an entry of the document's list `name`."""
        if self.json:
            self.fields.setdefault(name, []).append(value)
        else:
            click.echo(text)


@contextmanager
def answering(output: Output, **fields: Any) -> Iterator[Answer]:
    """Write the document at the end.

    After an error it holds what was done before it; where nothing was done, nothing is written.

    Args:
        output: text, or json.
        fields: that the document always has.
    """
    answer = Answer(output)
    try:
        yield answer
    except BaseException:
        if answer.json and answer.fields:
            click.echo(as_json(fields | answer.fields))
        raise
    if answer.json:
        click.echo(as_json(fields | answer.fields))

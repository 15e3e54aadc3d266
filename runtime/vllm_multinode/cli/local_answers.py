"""What the commands of `multinode local` share: which run is meant, and how they answer."""

from typing import Annotated, Any

import click

from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import Output, as_json
from vllm_multinode.cli.declare import Option

RunName = Annotated[
    str | None,
    Option("--run", help="Name of the run; needed if there are several.", complete=completions.runs),
]


def say(output: Output, text: str, fields: dict[str, Any]) -> None:
    """Print the text, or with -o json the fields."""
    click.echo(as_json(fields) if output == "json" else text)

"""`multinode schema`: what a deployment spec may hold, for editors."""

import json

import typer

from vllm_multinode.authoring.spec.schema import json_schema


def schema() -> None:
    """Print the JSON Schema of a deployment spec."""
    typer.echo(json.dumps(json_schema(), indent=2))

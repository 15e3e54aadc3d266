"""`multinode schema`: what a deployment spec may hold, for editors."""

import json

import click

from vllm_multinode.authoring.spec.schema import json_schema


def schema() -> None:
    """Print the JSON Schema of a deployment spec.

    multinode schema

    multinode schema > deployment-spec.json
    """
    click.echo(json.dumps(json_schema(), indent=2))

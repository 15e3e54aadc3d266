"""`multinode render`: from a deployment spec to the files that Kubernetes takes."""

from pathlib import Path
from typing import Annotated

import typer

from vllm_multinode.authoring.folder import write
from vllm_multinode.authoring.render import Target
from vllm_multinode.authoring.render import render as rendered
from vllm_multinode.authoring.spec import DeploymentSpec, load
from vllm_multinode.cli.platform_options import Kserve, Platform, chosen
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

STREAM = "-"


def token_note(spec: DeploymentSpec) -> tuple[str, ...]:
    """How the group's token is made, where nobody has said that it is there."""
    if spec.token is None or spec.token_secret is not None:
        return ()
    command = f"kubectl create secret generic {spec.token.name} --from-literal=token=$(openssl rand -hex 32)"
    return (f"the pods wait for the group's token. `multinode deploy` makes it; so does, once: {command}",)


def render(
    file: Annotated[str, typer.Option("--file", "-f", help="The deployment spec; - for standard input.")],
    *,
    platform: Platform = None,
    kserve: Kserve = None,
    target: Annotated[Target, typer.Option(help="An InferenceService, or a LeaderWorkerSet.")] = "kserve",
    out: Annotated[str, typer.Option(help="Folder to write to; - prints one stream.")] = STREAM,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that this command did not write.")
    ] = False,
) -> None:
    """Write ServingRuntime, InferenceService, claim and kustomization of a deployment spec."""
    if not out:
        raise MultinodeError(ExitCode.USAGE, "--out is empty.", hint="Name a folder, or - for a stream.")
    spec = load(file)
    made = rendered(spec, chosen(platform, kserve), target)
    for note in made.notes:
        typer.echo(f"note: {note}", err=True)
    if out == STREAM:
        typer.echo(made.stream(), nl=False)
    else:
        for path in write(Path(out), {name: made.text(name) for name in made.files}, force=force):
            typer.echo(path, err=True)
    for note in token_note(spec):
        typer.echo(f"note: {note}", err=True)

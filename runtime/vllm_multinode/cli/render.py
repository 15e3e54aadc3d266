"""`multinode render`: from a deployment spec to the files that Kubernetes takes."""

from pathlib import Path
from typing import Annotated

import click

from vllm_multinode.authoring.folder import write
from vllm_multinode.authoring.kept import with_spec
from vllm_multinode.authoring.render import Rendered, Target
from vllm_multinode.authoring.render import render as rendered
from vllm_multinode.authoring.render.fetch import secret_command
from vllm_multinode.authoring.spec import DeploymentSpec, load
from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import OutputFormat, as_json
from vllm_multinode.cli.aside import aside
from vllm_multinode.cli.declare import Option
from vllm_multinode.cli.platform_options import Kserve, Platform, chosen
from vllm_multinode.cli.source_size import asked_size
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import Release

STREAM = "-"


def secret_notes(spec: DeploymentSpec) -> tuple[str, ...]:
    """Secrets of a user's that the files name, with the command that makes each."""
    wanted = []
    if spec.token is not None and spec.token_secret is not None:
        wanted.append(f"generic {spec.token.name} --from-literal={spec.token.key}=$(openssl rand -hex 32)")
    if spec.api_key is not None and spec.api_key_secret is not None:
        wanted.append(
            f"generic {spec.api_key.name} --from-literal={spec.api_key.key}=$(openssl rand -hex 32)"
        )
    if spec.publish is not None and spec.publish.via != "route":
        name = spec.publish.tls_secret or f"{spec.name}-tls"
        wanted.append(f"tls {name} --cert=FILE --key=FILE")
    own = [f"kubectl create secret {command}" for command in wanted]
    if spec.model.source and spec.model.source_secret:
        own.append(secret_command(spec.model.source, spec.model.source_secret))
    return tuple(f"it needs a Secret: {command}" for command in own)


def render(
    file: Annotated[
        str,
        Option("--file", "-f", help="The deployment spec; - for standard input.", complete=completions.files),
    ],
    *,
    platform: Platform = None,
    kserve: Kserve = None,
    target: Annotated[Target, Option(help="An InferenceService, or a LeaderWorkerSet.")] = "kserve",
    out: Annotated[
        str, Option(help="Folder to write to; - prints one stream.", complete=completions.folders)
    ] = STREAM,
    force: Annotated[
        bool, Option("--force", help="Overwrite files that this command did not write.")
    ] = False,
    output: OutputFormat = "text",
) -> None:
    """Write ServingRuntime, InferenceService, claim and kustomization of a deployment spec.

    multinode render -f llama.yaml --platform kserve-0.19.0 --out llama/

    multinode render -f llama.yaml --target lws -o json
    """
    if not out:
        raise MultinodeError(ExitCode.USAGE, "--out is empty.", hint="Name a folder, or - for a stream.")
    spec = load(file, asked_size)
    release = chosen(platform, kserve)
    made = rendered(spec, release, target)
    secrets = secret_notes(spec)
    if output == "json":
        paths = _write(made, spec, release, target, out, force=force)
        notes = [*made.notes, *secrets]
        click.echo(as_json({"objects": made.documents, "notes": notes, "files": paths}))
        return
    for note in made.notes:
        aside(f"note: {note}")
    if out == STREAM:
        click.echo(made.stream(), nl=False)
    for path in _write(made, spec, release, target, out, force=force):
        aside(path)
    for note in secrets:
        aside(f"note: {note}")


def _write(
    made: Rendered, spec: DeploymentSpec, release: Release, target: Target, out: str, *, force: bool
) -> list[str]:
    """The files that were written; none where a stream is printed."""
    if out == STREAM:
        return []
    return [str(path) for path in write(Path(out), with_spec(made, spec, release, target), force=force)]

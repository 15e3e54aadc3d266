"""`multinode preview`: what KServe will make of some manifests, without a cluster."""

import json
from typing import Annotated, Any, Literal

import typer

from vllm_multinode.authoring.preview import Preview
from vllm_multinode.authoring.preview import preview as previewed
from vllm_multinode.cli.platform_options import Kserve, Platform, chosen, tell
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.files import read
from vllm_multinode.platforms.releases import Release

Output = Literal["table", "yaml", "json"]
_KINDS = ("InferenceService", "LeaderWorkerSet")


def preview(
    file: Annotated[list[str], typer.Option("--file", "-f", help="Manifests: files, folders, - for stdin.")],
    *,
    platform: Platform = None,
    kserve: Kserve = None,
    runtime: Annotated[
        list[str] | None, typer.Option(help="A further file that holds ServingRuntimes.")
    ] = None,
    generation: Annotated[
        int, typer.Option(min=1, help="metadata.generation of the InferenceServices now.")
    ] = 1,
    diff: Annotated[
        str, typer.Option(metavar="OTHER", help="Manifests to come: say what the update does.")
    ] = "",
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print it.")] = "table",
) -> int:
    """Print what KServe will create; exit code 4 where it would refuse it or never serve."""
    release = chosen(platform, kserve)
    tell(release)
    shared = _bodies(runtime or [])
    bodies = [*shared, *_bodies(file)]
    if not any(body["kind"] in _KINDS for body in bodies):
        raise MultinodeError(
            ExitCode.MANIFEST,
            "holds no InferenceService and no LeaderWorkerSet.",
            where=", ".join(file),
            hint="Name the file of one with -f.",
        )
    if diff:
        found = _print_update(bodies, [*shared, *_bodies([diff])], release, generation, output)
    else:
        found = previewed(bodies, release, generation=generation)
        typer.echo(_shown(found, output), nl=False)
    if output != "table":
        from vllm_multinode.authoring.preview.table import findings_text

        typer.echo(findings_text(found), nl=False, err=True)
    return ExitCode.OK if found.serves else ExitCode.WILL_NOT_SERVE


def _bodies(sources: list[str]) -> list[dict[str, Any]]:
    return [document.body for document in read(sources)]


def _shown(found: Preview, output: Output) -> str:
    if output == "yaml":
        from vllm_multinode.k8s.emit import to_yaml

        return to_yaml(found.objects) if found.objects else ""
    from vllm_multinode.authoring.preview.plain import as_object
    from vllm_multinode.authoring.preview.table import as_text

    return as_text(found) if output == "table" else _json(as_object(found))


def _print_update(
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    release: Release,
    generation: int,
    output: Output,
) -> Preview:
    from vllm_multinode.authoring.preview.plain import as_object, update_object
    from vllm_multinode.authoring.preview.table import as_text, updates_text
    from vllm_multinode.authoring.preview.update import updates

    found, changes = updates(before, after, release, generation)
    if output == "table":
        typer.echo(as_text(found) + updates_text(changes), nl=False)
    elif output == "json":
        typer.echo(_json({**as_object(found), "updates": [update_object(one) for one in changes]}), nl=False)
    else:
        typer.echo(_shown(found, output), nl=False)
    return found


def _json(found: object) -> str:
    return json.dumps(found, indent=2) + "\n"

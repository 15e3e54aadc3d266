"""`multinode preview`: what KServe will make of some manifests, without a cluster."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import click

from vllm_multinode.authoring import inputs
from vllm_multinode.authoring.preview import Preview, preview_documents
from vllm_multinode.authoring.rules.known import origins
from vllm_multinode.cli import completions
from vllm_multinode.cli.aside import aside, fitted
from vllm_multinode.cli.declare import Option
from vllm_multinode.cli.file_options import Parameters, Remote, reading, tell_foreign
from vllm_multinode.cli.platform_options import Kserve, Platform, chosen, tell
from vllm_multinode.cli.source_size import sized
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.releases import Release

Output = Literal["table", "yaml", "json"]
_KINDS = ("InferenceService", "LeaderWorkerSet")


def preview(
    file: Annotated[
        list[str],
        Option(
            "--file",
            "-f",
            help="Manifests, a Template, a spec, a folder, or - for stdin.",
            complete=completions.files,
        ),
    ],
    *,
    platform: Platform = None,
    kserve: Kserve = None,
    runtime: Annotated[
        list[str] | None,
        Option(help="A further file with ServingRuntimes.", complete=completions.files),
    ] = None,
    generation: Annotated[int, Option(min=1, help="metadata.generation of the InferenceServices now.")] = 1,
    diff: Annotated[
        str,
        Option(
            metavar="OTHER", help="The new manifests: show what the update does.", complete=completions.files
        ),
    ] = "",
    param: Parameters = None,
    remote: Remote = False,
    output: Annotated[Output, Option("--output", "-o", help="Output format.")] = "table",
) -> int:
    """Show what KServe will create; exit code 4 if it would reject it or never serve.

    multinode preview -f llama/ --platform openshift-ai-2.25

    multinode preview -f now.yaml --diff next.yaml -o json
    """
    release = chosen(platform, kserve)
    tell(release)
    how = reading(param, remote)
    shared = inputs.read(runtime, how).documents if runtime else ()
    given = sized(inputs.read(file, how))
    if not given.specs and not any(document.kind in _KINDS for document in given.documents):
        raise inputs.not_checked(given, file, _KINDS)
    documents = [*shared, *given.rendered(release)]
    for text in origins(documents, [release]):
        aside(f"note: {text}")
    tell_foreign(given)
    if diff:
        later = [*shared, *sized(inputs.read([diff], how)).rendered(release)]
        found = _print_update(documents, later, release, generation, output)
    else:
        found = preview_documents(documents, release, generation)
        click.echo(_fitted(_shown(found, output), output), nl=False)
    if output != "table":
        from vllm_multinode.authoring.preview.table import findings_text

        click.echo(fitted(findings_text(found), sys.stderr), nl=False, err=True)
    return ExitCode.OK if found.serves else ExitCode.WILL_NOT_SERVE


def _shown(found: Preview, output: Output) -> str:
    if output == "yaml":
        from vllm_multinode.k8s.emit import to_yaml

        return to_yaml(found.objects) if found.objects else ""
    from vllm_multinode.authoring.preview.as_json import as_object
    from vllm_multinode.authoring.preview.table import as_text

    return as_text(found) if output == "table" else _json(as_object(found))


def _print_update(
    before: Sequence[Document], after: Sequence[Document], release: Release, generation: int, output: Output
) -> Preview:
    from vllm_multinode.authoring.preview.as_json import as_object, update_object
    from vllm_multinode.authoring.preview.table import as_text, updates_text
    from vllm_multinode.authoring.preview.update import updates

    found, changes = updates(before, after, release, generation)
    if output == "table":
        click.echo(_fitted(as_text(found) + updates_text(changes), output), nl=False)
    elif output == "json":
        click.echo(_json({**as_object(found), "updates": [update_object(one) for one in changes]}), nl=False)
    else:
        click.echo(_shown(found, output), nl=False)
    return found


def _fitted(text: str, output: Output) -> str:
    return fitted(text, sys.stdout) if output == "table" else text


def _json(found: object) -> str:
    return json.dumps(found, indent=2) + "\n"

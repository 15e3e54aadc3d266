"""`multinode convert`: bring what runs elsewhere."""

import shutil
from pathlib import Path
from typing import Annotated

import click

from vllm_multinode.authoring.folder import REPORT, replace
from vllm_multinode.authoring.render import Target
from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import OutputFormat, as_json
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.cli.file_options import Parameters, Remote, reading, sources
from vllm_multinode.cli.platform_options import Kserve, Platform, named
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.convert import convert as converted
from vllm_multinode.convert.conversion import Kind
from vllm_multinode.convert.rendering import rendered
from vllm_multinode.convert.report import as_lines, as_markdown, as_object, spec_yaml, texts
from vllm_multinode.convert.sources import read_sources
from vllm_multinode.platforms.releases import DEFAULT


def convert(
    files: Annotated[
        list[str] | None,
        Argument(
            metavar="SOURCE…",
            help="Files or folders; - for standard input.",
            show_default=False,
            complete=completions.files,
        ),
    ] = None,
    *,
    kind: Annotated[
        Kind | None,
        Option("--from", help="Format of the source; detected by default.", show_default=False),
    ] = None,
    platform: Platform = None,
    kserve: Kserve = None,
    target: Annotated[
        Target | None,
        Option(help="An InferenceService, or a LeaderWorkerSet; kserve by default.", show_default=False),
    ] = None,
    out: Annotated[
        str,
        Option(
            help="Folder for spec, manifests and report.", show_default=False, complete=completions.folders
        ),
    ] = "",
    output: OutputFormat = "text",
    parameters: Parameters = None,
    remote: Remote = False,
) -> int:
    """Convert what you run on KAITO, OCI AI Blueprints, AI-on-EKS, KServe or Ray Serve.

    Exit code 16 where a field was not carried, 17 where the source is rejected.

    multinode convert workspace.yaml --out llama/

    multinode convert --from kaito workspace.yaml -o json
    """
    given, release = read_sources(sources(files), reading(parameters, remote)), named(platform, kserve)
    conversion, manifests = rendered(converted(given, kind, release or DEFAULT), release, target)
    if output == "json":
        click.echo(as_json(as_object(conversion)))
    elif not out:
        click.echo("---\n".join(map(spec_yaml, conversion.services)), nl=False)
    if out and conversion.code is not ExitCode.NOT_CONVERTED:
        each = texts(conversion, {name: one.texts for name, one in manifests.items()})
        alone = len(each) == 1
        written = {
            (name if alone else f"{service}/{name}"): text
            for service, content in each.items()
            for name, text in content.items()
        }
        paths = replace(Path(out), {**written, REPORT: as_markdown(conversion)})
        for shown in dict.fromkeys(_shown(path, Path(out)) for path in paths):
            click.echo(shown, err=True)
    if output == "text":
        for line in as_lines(conversion, shutil.get_terminal_size().columns):
            click.echo(line, err=True)
    return conversion.code


def _shown(path: Path, out: Path) -> str:
    """A file that was written; the folder of manifests stands for those in it."""
    parts = path.relative_to(out).parts
    if "manifests" not in parts:
        return str(path)
    return f"{out.joinpath(*parts[: parts.index('manifests') + 1])}/"

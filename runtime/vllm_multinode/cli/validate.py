"""`multinode validate`: what KServe would refuse, and what it would take and never serve."""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import typer

from vllm_multinode.authoring.rules import SEVERITIES, Finding, missing_runtimes
from vllm_multinode.authoring.rules import validate as findings_of
from vllm_multinode.authoring.rules.builtin import with_builtin_runtimes
from vllm_multinode.authoring.rules.claims import claims_elsewhere
from vllm_multinode.authoring.rules.schema import KINDS
from vllm_multinode.cli.platform_options import KserveVersions, Platforms, all_chosen, tell
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import Document
from vllm_multinode.k8s.files import read
from vllm_multinode.platforms.releases import Release, listed

Output = Literal["text", "json"]


def validate(
    more: Annotated[list[str] | None, typer.Argument(metavar="FILE...", help="More files.")] = None,
    *,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help="A manifest, a folder, a kustomization, or - for stdin."),
    ] = None,
    platform: Platforms = None,
    kserve: KserveVersions = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print findings.")] = "text",
    model: Annotated[
        str, typer.Option(help="The model, as `plan` takes it: checks that sizes fit it.", show_default=False)
    ] = "",
    fix: Annotated[
        bool, typer.Option("--fix", help="Fix in the files what can be fixed without a guess.")
    ] = False,
) -> int:
    """Say what will be refused and what will never serve; exit code 4 where there is any."""
    sources = list(dict.fromkeys([*(file or []), *(more or [])]))
    if not sources:
        raise MultinodeError(ExitCode.USAGE, "no file is named.", hint="Name one with -f.")
    releases = all_chosen(platform, kserve)
    for release in releases:
        tell(release)
    documents = read(sources)
    architecture = None
    if model:
        from vllm_multinode.authoring.rules.model import read_model
        from vllm_multinode.cli.model_source import HUB, named_model

        architecture = named_model(model).model if model.startswith(HUB) else read_model(model)

    def check(given: Sequence[Document]) -> list[Finding]:
        own = set(map(id, given))
        found = findings_of(with_builtin_runtimes(given), releases, architecture)
        return [one for one in found if id(one.document) in own]

    if fix:
        documents = _hint(sources, documents, check, releases)
    findings = sorted(check(documents), key=Finding.order)
    if output == "json":
        typer.echo(json.dumps([finding.as_object() for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(finding.as_text(releases))
    _notes(documents, findings, releases)
    return ExitCode.WILL_NOT_SERVE if any(finding.blocks for finding in findings) else ExitCode.OK


def _hint(
    sources: Sequence[str],
    documents: Sequence[Document],
    check: Callable[[Sequence[Document]], list[Finding]],
    releases: Sequence[Release],
) -> list[Document]:
    from vllm_multinode.authoring.rules.fix import apply_fixes

    for document in documents:
        if document.root is None:
            typer.echo(
                f"note: {document.file} is built by kustomize; --fix leaves its files alone.", err=True
            )
            break
    for fixed in apply_fixes(documents, check, releases):
        for finding in fixed.findings:
            typer.echo(f"fixed: {finding.file}:{finding.line}: {finding.rule} {finding.path}", err=True)
    return read(sources)


def _notes(documents: Sequence[Document], findings: Sequence[Finding], releases: Sequence[Release]) -> None:
    """What was not checked, and a count: on stderr, so that stdout holds findings alone."""
    known = [document for document in documents if document.kind in KINDS]
    if not known:
        typer.echo(f"note: nothing was checked: there is none of {', '.join(KINDS)}.", err=True)
    for name in missing_runtimes(with_builtin_runtimes(documents), releases[-1]):
        what = f"note: the ServingRuntime {name} was not given: what depends on it was not checked."
        typer.echo(what, err=True)
    for what in claims_elsewhere(documents):
        typer.echo(f"note: {what}", err=True)
    counts = {severity: sum(one.severity == severity for one in findings) for severity in SEVERITIES}
    told = ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)
    checked = f"{len(known)} object{'' if len(known) == 1 else 's'}, {listed(releases)}"
    typer.echo(f"{told or 'nothing found'} ({checked})", err=True)
    blocked = {release for finding in findings if finding.blocks for release in finding.releases}
    serving = [release for release in releases if release not in blocked]
    if blocked and serving:
        typer.echo(f"nothing is refused or stalls with {listed(serving)}", err=True)

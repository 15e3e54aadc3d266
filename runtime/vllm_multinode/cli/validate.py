"""`multinode validate`: what KServe would refuse, and what it would take and never serve."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import click

from vllm_multinode.authoring import inputs
from vllm_multinode.authoring.inputs import Inputs
from vllm_multinode.authoring.report import as_lines, as_object, order
from vllm_multinode.authoring.rules import SEVERITIES, Finding, judge, merged
from vllm_multinode.authoring.rules.claims import claims_elsewhere
from vllm_multinode.authoring.rules.fields import KINDS
from vllm_multinode.authoring.rules.known import origins
from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import Output, OutputFormat, as_json
from vllm_multinode.cli.aside import aside, finding_shown
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.cli.file_options import Parameters, Remote, reading, sources, tell_foreign
from vllm_multinode.cli.platform_options import KserveVersions, Platforms, all_chosen, tell
from vllm_multinode.cli.source_size import sized
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.text import shown
from vllm_multinode.k8s.documents import Document, Reading
from vllm_multinode.platforms.releases import Release, listed

if TYPE_CHECKING:
    from vllm_multinode.sizing.model.sources import Source
    from vllm_multinode.sizing.planner.request import Gpu

Check = Callable[[Sequence[Document]], list[Finding]]


def validate(
    more: Annotated[
        list[str] | None, Argument(metavar="FILE...", help="More files.", complete=completions.files)
    ] = None,
    *,
    file: Annotated[
        list[str] | None,
        Option(
            "--file",
            "-f",
            help="Manifests, a Template, a spec, a folder, or - for stdin.",
            complete=completions.files,
        ),
    ] = None,
    platform: Platforms = None,
    kserve: KserveVersions = None,
    output: OutputFormat = "text",
    model: Annotated[
        str,
        Option(
            help="The model, as for `plan`: also check that the sizes fit it.",
            show_default=False,
            complete=completions.models,
        ),
    ] = "",
    gpu: Annotated[
        str,
        Option(
            help="The GPU of the nodes, as for `plan`: also check that the model fits.",
            show_default=False,
            complete=completions.gpus,
        ),
    ] = "",
    param: Parameters = None,
    remote: Remote = False,
    fix: Annotated[bool, Option("--fix", help="Fix the files where the fix is certain.")] = False,
    online: Annotated[
        bool, Option("--online", help="Also check that each model exists at its source.")
    ] = False,
) -> int:
    """Find what will be rejected and what will never serve; exit code 4 if anything is found.

    multinode validate -f llama/ --platform openshift-ai-2.25

    multinode validate llama.yaml --platform all -o json
    """
    named = sources(file, more)
    releases = all_chosen(platform, kserve)
    for release in releases:
        tell(release)
    how = reading(param, remote)
    given = sized(inputs.read(named, how))
    source, accelerator = _model(model), _gpu(gpu)
    if accelerator is not None and source is None:
        source = _named_model(given)
    if source is not None:
        _refuse_needs(source, given)
    refused: dict[Release, MultinodeError] = {}

    check = functools.partial(_judged, given.specs, releases, source, accelerator, refused)
    if fix:
        given = _fix(named, given, check, releases, how)
    findings = sorted(check(given.documents), key=order)
    if given.specs and len(refused) == len(releases):
        raise next(iter(refused.values()))
    checked = [one for one in given.documents if one.kind in KINDS]
    if not checked and not given.specs:
        raise inputs.not_checked(given, named, KINDS)
    _print(findings, releases, output)
    for release, error in refused.items():
        aside(f"note: {release.label}: {error}")
    _notes(given, findings, releases, len(checked) + len(given.specs))
    if online:
        _ask_sources(given, next(one for one in releases if one not in refused))
    stops = bool(refused) or any(finding.blocks for finding in findings)
    return ExitCode.WILL_NOT_SERVE if stops else ExitCode.OK


def _judged(
    specs: tuple[Document, ...],
    releases: Sequence[Release],
    model: "Source | None",
    gpu: "Gpu | None",
    refused: dict[Release, MultinodeError],
    documents: Sequence[Document],
) -> list[Finding]:
    """The findings of all releases; those that cannot serve a spec are put into `refused`."""
    judged = []
    for release in releases:
        try:
            everything = Inputs(tuple(documents), specs).rendered(release)
        except MultinodeError as error:
            refused[release] = error
            everything = list(documents)
        judged.append(judge(everything, release, model, gpu)[0])
    return merged(judged)


def _ask_sources(given: Inputs, release: Release) -> None:
    """Hold every Job that fetches a model against its source.

    Raises:
        MultinodeError: as `source_check.check_here`.
    """
    # What asks a network is loaded where one is asked.
    from vllm_multinode.api.source_check import check_here

    check_here([document.body for document in given.rendered(release)], aside)


def _print(findings: Sequence[Finding], releases: tuple[Release, ...], output: Output) -> None:
    if output == "json":
        click.echo(as_json([as_object(finding) for finding in findings]))
        return
    for line in as_lines(findings, releases):
        click.echo(finding_shown(line))


def _model(name: str) -> "Source | None":
    if not name:
        return None
    # What reads models is loaded where one is named.
    from vllm_multinode.api.model_source import HUB, named_model
    from vllm_multinode.authoring.rules.model import read_model

    return named_model(name) if name.startswith(HUB) else read_model(name)


def _refuse_needs(source: "Source", given: Inputs) -> None:
    """Refuse a model that needs an option which none of the files gives.

    Raises:
        MultinodeError: MODEL_CONFIG, as the head would.
    """
    everything = str([one.body for one in (*given.documents, *given.specs)]).replace("_", "-")
    for need in source.needs:
        if not any(option.removeprefix("--") in everything for option in need.options):
            raise MultinodeError(
                ExitCode.MODEL_CONFIG,
                need.what,
                where=source.name,
                hint=f"Add {need.options[0]} to the arguments, or complete the model.",
            )


def _named_model(given: Inputs) -> "Source":
    """The model that the files name, for `--gpu` without `--model`.

    Raises:
        MultinodeError: USAGE, where they name none.
    """
    from vllm_multinode.authoring.rules.model import named_model

    source = named_model(given.documents)
    if source is None:
        what = "--gpu needs the model, and the files name no model of the catalogue."
        raise MultinodeError(ExitCode.USAGE, what, hint="Name it with --model.")
    aside(f"note: sizes are checked against {source.name}, which the model's path names.")
    return source


def _gpu(name: str) -> "Gpu | None":
    if not name:
        return None
    from vllm_multinode.sizing.planner.request import find_gpu

    return find_gpu(name)[0]


def _fix(
    named: Sequence[str], given: Inputs, check: Check, releases: Sequence[Release], how: Reading
) -> Inputs:
    from vllm_multinode.authoring.rules.fix import apply_fixes

    for document in given.documents:
        why = (
            "is built by kustomize"
            if document.root is None
            else "is a Template" * (document.parameters is not None)
        )
        if why:
            aside(f"note: {document.file} {why}; --fix leaves its files alone.")
            break
    for fixed in apply_fixes(given.documents, check, releases):
        for finding in fixed.findings:
            aside(f"fixed: {finding.file}:{finding.line}: {finding.rule} {finding.path}")
    return sized(inputs.read(named, how))


def _notes(given: Inputs, findings: Sequence[Finding], releases: Sequence[Release], count: int) -> None:
    """What was not checked or assumed, and a count: on stderr, so that stdout holds findings alone."""
    tell_foreign(given)
    for text in (*origins(given.documents, releases), *claims_elsewhere(given.documents)):
        aside(f"note: {shown(text)}")
    counts = {severity: sum(one.severity == severity for one in findings) for severity in SEVERITIES}
    told = ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)
    checked = f"{count} object{'' if count == 1 else 's'}, {listed(releases)}"
    aside(f"{told or 'nothing found'} ({checked})")
    blocked = {release for finding in findings if finding.blocks for release in finding.releases}
    serving = [release for release in releases if release not in blocked]
    if blocked and serving:
        aside(f"nothing is rejected or stalls with {listed(serving)}")

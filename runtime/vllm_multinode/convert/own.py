"""Manifests of our own: the spec that is kept beside them, or one whose rendering they are.

A folder that `multinode render` has written holds its spec. What it renders is held against what the folder
holds now: a field that somebody has changed by hand since is taken into the spec where a field of the spec
says it, and is reported where none does. Without the spec one is sought whose rendering is the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final

from vllm_multinode.authoring import kept
from vllm_multinode.authoring.kept import Kept
from vllm_multinode.authoring.render import Target
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.labels import MANAGED_BY, MANAGER, PART_OF
from vllm_multinode.convert import kserve, lws
from vllm_multinode.convert.differences import ABSENT, Comparison, Place
from vllm_multinode.convert.draft import Draft, Fields
from vllm_multinode.convert.engine_arguments import shown
from vllm_multinode.convert.fit import REMOVED, Edit, Fit, fit, nearest
from vllm_multinode.convert.own_fields import SERVICES, suggested
from vllm_multinode.convert.record import Record
from vllm_multinode.convert.secrets import is_secret
from vllm_multinode.k8s.access import mapping
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.releases import MULTI_NODE, Release, find

_RENDERED: Final = "The spec renders it."
_LAUNCHER: Final = "multinode.pyz"
_PATCH: Final = "Add it with a kustomize patch."
_FAR: Final = 2
"""A rendering that differs in more than one of so many values is not what the manifests come from."""


@dataclass(frozen=True)
class Own:
    """One service of our own.

    Attributes:
        name: of the service.
        fields: of its spec.
        notes: what was decided, a sentence each.
        record: of its first InferenceService or LeaderWorkerSet.
        platform: that it was rendered for; empty where that cannot be told.
        target: that it was rendered for.
    """

    name: str
    fields: Fields
    notes: tuple[str, ...]
    record: Record
    platform: str
    target: Target


def take(documents: Sequence[Document], records: Sequence[Record], release: Release) -> list[Own]:
    """The services among some documents that were rendered here; their records are answered.

    Args:
        documents: of the sources.
        records: of the same documents.
        release: to try first, where nothing says what they were rendered for.
    """
    specs = _specs(documents)
    names = dict.fromkeys(
        name
        for document in documents
        if document.kind in SERVICES and (name := _part_of(document.body)) is not None
    )
    taken = []
    for name in names:
        of_it = [record for record in records if _belongs(record.body, name)]
        found = _one(name, of_it, specs.get(name), release)
        if found is not None:
            taken.append(found)
    return taken


def _one(name: str, records: Sequence[Record], spec: Kept | None, release: Release) -> Own | None:
    given = kept.by_key(record.body for record in records)
    group = next(record for record in records if record.body.get("kind") in SERVICES)
    target: Target = "lws" if group.body.get("kind") == "LeaderWorkerSet" else "kserve"
    wanted = suggested(name, [record.body for record in records], _read(group, records))
    if spec is not None and spec.target == target:
        start = kept.fields_of(spec.spec)
        releases: tuple[Release, ...] = (_release(spec.platform, release),)
    else:
        start, spec = _first(wanted), None
        releases = tuple(dict.fromkeys((release, *MULTI_NODE)))
    first = fit(start, wanted, given, releases[0], target)
    best = None if first is None else (releases[0], first)
    if first is None or first.comparison.distance:
        begin = start if first is None else first.fields
        best = nearest(releases, lambda one: fit(begin, {}, given, one, target))
        if best is not None and best[1].comparison.distance:
            further = fit(start, wanted, given, best[0], target)
            best = (best[0], further) if further is not None else best
    if best is None:
        return None
    rendered_for, found = best
    if spec is None and _is_far(found.comparison):
        return None
    for record in records:
        _answer(record, found, spec)
    _missing(group, found.comparison)
    return Own(name, found.fields, tuple(_notes(found, spec, rendered_for)), group, rendered_for.name, target)


def _specs(documents: Sequence[Document]) -> dict[str, Kept]:
    """Specs that stand beside the documents' files, by the service's name."""
    folders: dict[FilePath, None] = {}
    for document in documents:
        for file in (document.file, document.source.file if document.source else ""):
            if file and file != "-":
                path = FilePath(file)
                folders[path if path.is_dir() else path.parent] = None
    specs = (kept.read(folder) for folder in folders)
    return {spec.spec.name: spec for spec in specs if spec is not None}


def _part_of(body: Mapping[str, Any]) -> str | None:
    labels = mapping(body, "metadata", "labels")
    name = labels.get(PART_OF)
    return name if labels.get(MANAGED_BY) == MANAGER and isinstance(name, str) and name else None


def _belongs(body: Mapping[str, Any], name: str) -> bool:
    """Whether an object is of a service, or of all: its ServingRuntime and the launcher are shared."""
    labels, own_name = mapping(body, "metadata", "labels"), str(mapping(body, "metadata").get("name", ""))
    if PART_OF in labels or body.get("kind") in SERVICES:
        return labels.get(PART_OF) == name
    is_named_after_it = own_name == name or own_name.startswith(f"{name}-")
    return labels.get(MANAGED_BY) == MANAGER or own_name.startswith(MANAGER) or is_named_after_it


def _read(group: Record, records: Sequence[Record]) -> Draft:
    """What the readers of foreign services make of it, and their answers."""
    scratch = Record(group.body, group.label)
    others = [Record(record.body, record.label) for record in records if record is not group]
    try:
        drafts = (
            lws.convert(scratch)
            if group.body.get("kind") == "LeaderWorkerSet"
            else kserve.convert(scratch, [scratch, *others], {})
        )
    except MultinodeError:
        drafts = []
    return drafts[0] if drafts else Draft(group.label)


def _first(wanted: Fields) -> Fields:
    """The least that makes a spec; everything else has to show in the manifests."""
    model = {key: value for key, value in wanted.get("model", {}).items() if key != "createClaim"}
    start = {"name": wanted["name"], "model": model, "parallelism": wanted.get("parallelism", {})}
    for field in ("accelerator", "executor"):
        if field in wanted:
            start[field] = wanted[field]
    return start


def _release(name: str, release: Release) -> Release:
    try:
        return find(name)
    except MultinodeError:
        return release


def _is_far(comparison: Comparison) -> bool:
    values = sum(len(places) for places in comparison.places.values())
    return comparison.distance * _FAR > values


def _answer(record: Record, found: Fit, spec: Kept | None) -> None:
    key = kept.key_of(record.body)
    if spec is not None and spec.digests.get(key) == kept.digest_of(record.body):
        record.answer((), "carried", "", "As it was rendered.")
        return
    if key not in found.comparison.places:
        return
    record.answer((), "carried", "", _RENDERED)
    for place in found.comparison.places[key]:
        if place.given is ABSENT:
            what = f"The spec renders {_quoted(place)} here, and the source has nothing."
            record.missing(place.path, what)
        elif not place.is_equal and _LAUNCHER in place.path:
            record.changed(place.path, "", "The launcher of this version is written.")
        elif not place.is_equal:
            record.not_carried(place.path, _why(place))


def _why(place: Place) -> str:
    if place.rendered is ABSENT:
        return f"Changed by hand; no field of the spec expresses it. {_PATCH}"
    return f"Changed by hand from {_quoted(place)}, and no field of the spec expresses it. {_PATCH}"


def _quoted(place: Place) -> str:
    secret = any(is_secret(value) for value in (place.given, place.rendered))
    return "***" if secret else shown(place.rendered)


def _missing(group: Record, comparison: Comparison) -> None:
    for kind, name in comparison.missing:
        group.missing(f"{kind} {name}", f"The spec renders a {kind}, and the source has none.")


def _notes(found: Fit, spec: Kept | None, release: Release) -> Iterator[str]:
    if spec is None:
        yield f"There is no spec next to it: it is read from the manifests, as rendered for {release.name}."
    else:
        yield f"From the spec next to it, rendered for {release.name} by version {spec.version}."
        for edit in found.edits:
            yield f"Changed by hand since: {_edit(edit)}."
    differing = found.comparison.distance
    if not differing:
        yield "The spec renders exactly what the source contains."


def _edit(edit: Edit) -> str:
    field = ".".join(edit.path)
    if edit.after is REMOVED:
        return f"{field} is gone"
    before = "" if edit.before is REMOVED else f", was {shown(edit.before)}"
    return f"{field} is {shown(edit.after)}{before}"

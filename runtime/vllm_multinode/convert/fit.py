"""The deployment spec whose rendering comes nearest to given manifests."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from vllm_multinode.authoring.kept import by_key
from vllm_multinode.authoring.render import Target, render
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.convert.differences import Comparison, Objects, compare
from vllm_multinode.convert.draft import Fields
from vllm_multinode.platforms.releases import Release

REMOVED: Final = object()
_TOGETHER: Final = (("replicas", "router"), ("accelerator", "resources"), ("runtime", "image", "executor"))
"""Fields that agree with each other only where they change at once."""
_ROUNDS: Final = 5


@dataclass(frozen=True)
class Edit:
    """One field of the spec that manifests show with another value.

    Attributes:
        path: of the field.
        before: its value; REMOVED where it was not written.
        after: its value as the manifests show it; REMOVED where they show none.
    """

    path: tuple[str, ...]
    before: Any
    after: Any


@dataclass(frozen=True)
class Fit:
    """A deployment spec, and what differs between its rendering and the given manifests."""

    fields: Fields
    spec: DeploymentSpec
    comparison: Comparison
    edits: tuple[Edit, ...]


def fit(start: Fields, suggested: Fields, given: Objects, release: Release, target: Target) -> Fit | None:
    """Take each suggested field that brings the rendering nearer to the given manifests.

    Args:
        start: fields to begin with.
        suggested: fields as the manifests show them, some of which may be wrong.
        given: the manifests.
        release: that they were rendered for.
        target: that they were rendered for.

    Returns:
        None where the first fields make no spec that can be rendered.
    """
    best = _rendered(start, given, release, target)
    if best is None:
        return None
    edits: dict[tuple[str, ...], Edit] = {}
    for _ in range(_ROUNDS):
        before = best.comparison.distance
        for candidate in list(_candidates(best.fields, suggested)):
            if not best.comparison.distance:
                break
            changed = best.fields
            for path, value in candidate.items():
                changed = _with(changed, path, value)
            other = _rendered(changed, given, release, target) if changed != best.fields else None
            if other is not None and other.comparison.distance < best.comparison.distance:
                for path, value in candidate.items():
                    first = edits[path].before if path in edits else _at(best.fields, path)
                    edits[path] = Edit(path, first, value)
                best = other
        if best.comparison.distance == before:
            break
    return Fit(best.fields, best.spec, best.comparison, tuple(edits.values()))


def _rendered(fields: Fields, given: Objects, release: Release, target: Target) -> Fit | None:
    try:
        spec = DeploymentSpec.model_validate(fields)
        made = render(spec, release, target)
    except (ValidationError, MultinodeError):
        return None
    return Fit(fields, spec, compare(given, by_key(made.documents)), ())


def _candidates(fields: Fields, suggested: Fields) -> Iterator[dict[tuple[str, ...], Any]]:
    """Fields to try: each that is suggested with another value, several at once, and none of each."""
    for path, value in _steps(suggested):
        if _at(fields, path) != value:
            yield {path: value}
    for names in _TOGETHER:
        yield {(name,): suggested.get(name, REMOVED) for name in names}
    for path, _ in _steps(fields):
        yield {path: REMOVED}


def _at(fields: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = fields
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return REMOVED
        value = value[step]
    return value


def _with(fields: Fields, path: tuple[str, ...], value: Any) -> Fields:
    changed = copy.deepcopy(fields)
    place: Any = changed
    for step in path[:-1]:
        if not isinstance(place.get(step), dict):
            place[step] = {}
        place = place[step]
    if value is REMOVED:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = copy.deepcopy(value)
    return changed


def nearest(
    releases: tuple[Release, ...], fitted: Callable[[Release], Fit | None]
) -> tuple[Release, Fit] | None:
    """The first of the releases whose rendering comes nearest."""
    best: tuple[Release, Fit] | None = None
    for release in releases:
        found = fitted(release)
        if found is not None and (best is None or found.comparison.distance < best[1].comparison.distance):
            best = release, found
            if not found.comparison.distance:
                break
    return best


def _steps(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every field below a mapping with its path, inner ones first."""
    for name, child in value.items():
        if isinstance(child, Mapping) and child:
            yield from _steps(child, (*path, str(name)))
        yield (*path, str(name)), child

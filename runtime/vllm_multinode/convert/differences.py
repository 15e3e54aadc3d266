"""Where given objects and rendered ones differ, value by value."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vllm_multinode.authoring.kept import Key
from vllm_multinode.convert.record import Path

Objects = Mapping[Key, Mapping[str, Any]]

ABSENT: Final = object()
"""The value of a place that is not there."""
_OBJECT: Final = 8
"""Values that an object counts for which one side lacks."""
_IDENTITIES: Final = ("name", "mountPath", "topologyKey", "containerPort", "port", "key")
"""What tells an item of a list from the others, as Kubernetes merges lists by it."""
_GENERATED: Final = re.compile(r"(?<=[a-z0-9])-[0-9a-f]{6,10}(?=$|/)")


@dataclass(frozen=True)
class Place:
    """One value.

    Attributes:
        path: in its object.
        given: the value; ABSENT where the given object has none.
        rendered: the same of the rendered object.
    """

    path: Path
    given: Any
    rendered: Any

    @property
    def is_equal(self) -> bool:
        """Whether both say the same; a digest in a name says nothing."""
        return bool(_said(self.given) == _said(self.rendered))


@dataclass(frozen=True)
class Comparison:
    """What differs between two sets of objects.

    Attributes:
        places: of every object that both have: each given value, and each rendered one that is not given.
        added: objects that only the given set has.
        missing: objects that only the rendered set has.
    """

    places: Mapping[Key, Sequence[Place]]
    added: tuple[Key, ...] = field(default=())
    missing: tuple[Key, ...] = field(default=())

    @property
    def distance(self) -> int:
        """How many values differ; an object that one side lacks counts as several."""
        differing = sum(not place.is_equal for places in self.places.values() for place in places)
        return differing + _OBJECT * (len(self.added) + len(self.missing))


def compare(given: Objects, rendered: Objects) -> Comparison:
    """Hold given objects against rendered ones."""
    places = {
        key: tuple(_placed(_walk(body, rendered[key], ()), body))
        for key, body in given.items()
        if key in rendered
    }
    return Comparison(
        places,
        tuple(key for key in given if key not in rendered),
        tuple(key for key in rendered if key not in given),
    )


def _placed(places: Iterator[Place], body: Mapping[str, Any]) -> Iterator[Place]:
    """The same, but for the namespace that kustomize writes beside each service account of a binding."""
    namespace = (body.get("metadata") or {}).get("namespace")
    for place in places:
        is_own = place.path[:1] == ("subjects",) and place.path[-1] == "namespace"
        if is_own and place.given == namespace and place.rendered is ABSENT:
            yield Place(place.path, place.given, place.given)
        else:
            yield place


def _walk(given: Any, rendered: Any, path: Path) -> Iterator[Place]:
    if isinstance(given, Mapping) and given:
        other = rendered if isinstance(rendered, Mapping) else {}
        for name, value in given.items():
            yield from _walk(value, other.get(name, ABSENT), (*path, name))
        yield from (Place((*path, name), ABSENT, other[name]) for name in other if name not in given)
    elif isinstance(given, list) and given:
        items = rendered if isinstance(rendered, list) else []
        partners = _partners(given, items)
        for index, value in enumerate(given):
            partner = partners.get(index)
            yield from _walk(value, ABSENT if partner is None else items[partner], (*path, index))
        for index in sorted(set(range(len(items))) - set(partners.values())):
            yield Place((*path, index), ABSENT, items[index])
    else:
        yield Place(path, given, rendered)


def _partners(given: Sequence[Any], rendered: Sequence[Any]) -> dict[int, int]:
    """Index of a given item -> index of the rendered one that it stands for: equal, or of one identity."""
    partners: dict[int, int] = {}
    free = list(range(len(rendered)))
    for is_pair in (lambda a, b: a == b, _are_one):
        for index, item in enumerate(given):
            if index in partners:
                continue
            partner = next((place for place in free if is_pair(item, rendered[place])), None)
            if partner is not None:
                partners[index] = partner
                free.remove(partner)
    return partners


def _are_one(given: Any, rendered: Any) -> bool:
    if isinstance(given, str) and isinstance(rendered, str):
        name = given.partition("=")[0]
        return name.startswith("--") and name == rendered.partition("=")[0]
    if not isinstance(given, Mapping) or not isinstance(rendered, Mapping):
        return False
    known = next((name for name in _IDENTITIES if name in given and name in rendered), None)
    if known is None:
        return given.keys() == rendered.keys()
    return bool(_said(given[known]) == _said(rendered[known]))


def _said(value: Any) -> Any:
    """A value without the digest that may end it."""
    return _GENERATED.sub("", value) if isinstance(value, str) and len(value) < 256 else value

"""Looking into an object that may hold anything: what is not of the wanted kind is as good as absent."""

from collections.abc import Iterator, Mapping
from typing import Any

from vllm_multinode.contract.finding import Path

Body = Mapping[str, Any]


def at(value: Any, *path: str | int) -> Any:
    """The value at a path, None where there is none."""
    for step in path:
        if isinstance(step, str) and isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and 0 <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def mapping(value: Any, *path: str | int) -> Body:
    """The mapping at a path, an empty one where there is none."""
    found = at(value, *path)
    return found if isinstance(found, Mapping) else {}


def listed(value: Any, *path: str | int) -> list[Any]:
    """The list at a path, an empty one where there is none."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def text(value: Any, *path: str | int) -> str:
    """The text at a path, an empty one where there is none."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def number(value: Any, *path: str | int) -> int | None:
    """The whole number at a path; a boolean is none."""
    found = at(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def containers(value: Any, path: Path) -> Iterator[tuple[Path, Body]]:
    """Each container of the list at `path`, with its own path."""
    for index, container in enumerate(listed(value, *path)):
        if isinstance(container, Mapping):
            yield (*path, index), container


def variable(container: Any, name: str) -> int | None:
    """The index of an environment variable of a container, None where it is not set there."""
    for index, entry in enumerate(listed(container, "env")):
        if at(entry, "name") == name:
            return index
    return None

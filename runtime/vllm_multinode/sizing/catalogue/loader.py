"""Reads the catalogue's files, an entry at a time."""

import difflib
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.catalogue.records import Accelerator, Entry, Model, Shape

Kind = Literal["accelerator", "shape", "model"]
EntryT = TypeVar("EntryT", bound=Entry)

_FOLDER = Path(__file__).parent
_MODELS = _FOLDER / "models"
_LISTS: Mapping[Kind, str] = {"accelerator": "accelerators", "shape": "shapes"}
_CLOSE_MATCHES = 4
# libyaml's parser is some ten times faster; a PyYAML built without it has the other one only.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def accelerator(name: str) -> Accelerator:
    """The accelerator of this name, alias or product label.

    Raises:
        MultinodeError: USAGE, with close matches, where there is none.
    """
    return _from_list("accelerator", name, Accelerator)


def shape(name: str) -> Shape:
    """The node shape (instance type or server) of this name or alias.

    Raises:
        MultinodeError: USAGE, with close matches, where there is none.
    """
    return _from_list("shape", name, Shape)


def model(name: str) -> Model:
    """The model of this hub id, its last part or an alias; only its own file is read.

    Raises:
        MultinodeError: USAGE, with close matches, where there is none.
    """
    hub_id = _find("model", name, _model_index())
    entry = _parse(_MODELS / f"{_slug(hub_id)}.yaml")
    return _record(Model, entry | {"aliases": _model_aliases()[hub_id]}, hub_id)


def names(kind: Kind) -> tuple[str, ...]:
    """Every name of a kind without the aliases, in the order of the files."""
    if kind == "model":
        return tuple(_model_aliases())
    return tuple(_entries(kind))


def folded(name: str) -> str:
    """A name as it is compared: lower case; blanks, underscores and hyphens are one hyphen."""
    return re.sub(r"[\s_-]+", "-", name.strip()).lower()


def _from_list(kind: Kind, name: str, record: type[EntryT]) -> EntryT:
    found = _find(kind, name, _index(kind))
    return _record(record, _entries(kind)[found], found)


def _find(kind: Kind, name: str, index: Mapping[str, str]) -> str:
    """The entry's own name for any of its names."""
    found = index.get(folded(name))
    if found is None:
        raise MultinodeError(
            ExitCode.USAGE,
            f"The catalogue has no {kind} {name!r}.",
            hint=_suggestion(folded(name), index),
        )
    return found


def _suggestion(wanted: str, index: Mapping[str, str]) -> str:
    """Names that contain what was asked for, else names that resemble it."""
    close = [own for known, own in index.items() if wanted and wanted in known] or [
        index[known] for known in difflib.get_close_matches(wanted, index, n=_CLOSE_MATCHES, cutoff=0.5)
    ]
    close = list(dict.fromkeys(close))[:_CLOSE_MATCHES]
    return f"Close to it: {', '.join(close)}." if close else ""


@functools.cache
def _index(kind: Kind) -> Mapping[str, str]:
    """Folded name, alias or product label -> name."""
    index: dict[str, str] = {}
    for name, entry in _entries(kind).items():
        for known in (name, *entry.get("aliases", ()), *entry.get("products", ())):
            index[folded(known)] = name
    return index


@functools.cache
def _model_index() -> Mapping[str, str]:
    """Folded hub id, its last part or alias -> hub id."""
    index: dict[str, str] = {}
    for hub_id, aliases in _model_aliases().items():
        for known in (hub_id, hub_id.rpartition("/")[2], *aliases):
            index[folded(known)] = hub_id
    return index


@functools.cache
def _model_aliases() -> Mapping[str, list[str]]:
    """Hub id -> aliases."""
    return _parse(_MODELS / "index.yaml")


@functools.cache
def _entries(kind: Kind) -> Mapping[str, dict[str, Any]]:
    """Name -> entry as it stands in the file, its sources written out."""
    document = _parse(_FOLDER / f"{_LISTS[kind]}.yaml")
    sources = document["sources"]
    return {
        entry["name"]: entry | {"source": [sources[key] for key in entry["source"]]}
        for entry in document[_LISTS[kind]]
    }


def _parse(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return dict(yaml.load(file, Loader=_LOADER))  # noqa: S506 (both are safe loaders)


def _record(record: type[EntryT], entry: Mapping[str, Any], name: str) -> EntryT:
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
    }
    try:
        return record(**plain)
    except (TypeError, ValueError) as error:
        raise MultinodeError(ExitCode.USAGE, f"{error}.", where=f"catalogue, {name}") from error


def _slug(hub_id: str) -> str:
    """The name of a model's file: its hub id in lower case, with two hyphens for the slash."""
    return hub_id.lower().replace("/", "--")

"""Reads the catalogue's files, an entry at a time."""

import difflib
import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import yaml

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.catalogue.records import RECORDS, Accelerator, Entry, Kind, Model, Shape

EntryT = TypeVar("EntryT", bound=Entry)

_FOLDER = Path(__file__).parent
_MODELS = _FOLDER / "models"
_LISTS: Mapping[Kind, str] = {"accelerator": "accelerators", "shape": "shapes"}
_CLOSE_MATCHES = 4
# libyaml's parser is some ten times faster; a PyYAML built without it has the other one only.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ANY_MODEL = "`multinode models` lists all; {hub} asks the hub, and a config.json names any other."
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_ANY_GPU = "`multinode gpus` lists all."


def accelerator(name: str) -> Accelerator:
    """The accelerator of this name, alias or product label.

    Raises:
        MultinodeError: USAGE, with close matches, where there is none.
    """
    return _required("accelerator", name, find("accelerator", name))


def shape(name: str) -> Shape:
    """The node shape (instance type or server) of this name or alias.

    Raises:
        MultinodeError: USAGE, with close matches, where there is none.
    """
    return _required("shape", name, find("shape", name))


def model(name: str) -> Model:
    """The model of this hub id, its last part or an alias; only its own file is read.

    Raises:
        MultinodeError: USAGE, with close matches, where there is none.
    """
    return _required("model", name, find("model", name))


@overload
def find(kind: Literal["accelerator"], name: str) -> Accelerator | None: ...
@overload
def find(kind: Literal["shape"], name: str) -> Shape | None: ...
@overload
def find(kind: Literal["model"], name: str) -> Model | None: ...
def find(kind: Kind, name: str) -> Entry | None:
    """The entry of any of its names; None where there is none. The user's own come first."""
    own = _own(kind)
    for entry in own.values():
        if folded(name) in _known(entry):
            return entry
    index = _model_index() if kind == "model" else _index(kind)
    found = index.get(folded(name))
    if found is None:
        return None
    if kind == "model":
        whole = _parse(_MODELS / f"{_slug(found)}.yaml") | {"aliases": _model_aliases()[found]}
        return _record(Model, whole, found)
    return _record(RECORDS[kind], _entries(kind)[found], found)


def is_own(entry: Entry) -> bool:
    """Whether it is one of the user's own."""
    return any(one is entry for kind in RECORDS for one in _own(kind).values())


def names(kind: Kind) -> tuple[str, ...]:
    """Every name of a kind without the aliases, in the order of the files, the user's own last."""
    given = _model_aliases() if kind == "model" else _entries(kind)
    return (*given, *(name for name in _own(kind) if name not in given))


def search(kind: Kind, wanted: str) -> tuple[str, ...]:
    """Names of the entries one of whose names has every word of what is wanted, in order; all for nothing."""
    words = folded(wanted).split("-") if wanted.strip() else []
    matching = {own for known, own in _every_name(kind).items() if all(word in known for word in words)}
    return tuple(name for name in names(kind) if name in matching)


def folded(name: str) -> str:
    """A name as it is compared: lower case; blanks, underscores and hyphens are one hyphen."""
    return re.sub(r"[\s_-]+", "-", name.strip()).lower()


def hint(kinds: Sequence[Kind], wanted: str) -> str:
    """What to do where no entry has this name: names close to it, and the ways past the catalogue."""
    index = {known: own for kind in kinds for known, own in _every_name(kind).items()}
    asked = folded(wanted)
    close = [own for known, own in index.items() if asked and asked in known] or [
        index[known] for known in difflib.get_close_matches(asked, index, n=_CLOSE_MATCHES, cutoff=0.5)
    ]
    close = list(dict.fromkeys(close))[:_CLOSE_MATCHES]
    offered = f"Close to it: {', '.join(close)}." if close else ""
    hub = f"hf://{wanted}" if _HUB_ID.fullmatch(wanted) else "hf://org/name"
    return " ".join(filter(None, (offered, _ANY_MODEL.format(hub=hub) if "model" in kinds else _ANY_GPU)))


def _required(kind: Kind, name: str, found: EntryT | None) -> EntryT:
    if found is None:
        what = f"The catalogue has no {kind} {name!r}."
        raise MultinodeError(ExitCode.USAGE, what, hint=hint((kind,), name))
    return found


def _own(kind: Kind) -> Mapping[str, Entry]:
    """The user's own entries; read once for each file that the variable names."""
    path = os.environ.get(env.CATALOGUE, "").strip()
    if not path:
        return {}
    # What reads and checks a user's file is loaded only where there is one.
    from vllm_multinode.sizing.catalogue.own import own_entries

    return own_entries(path)[kind]


def _known(entry: Entry) -> set[str]:
    """Every folded name of an entry."""
    products = entry.products if isinstance(entry, Accelerator) else ()
    return {folded(known) for known in (entry.name, entry.name.rpartition("/")[2], *entry.aliases, *products)}


def _every_name(kind: Kind) -> Mapping[str, str]:
    """Every folded name of a kind -> the entry's own name."""
    own = {known: entry.name for entry in _own(kind).values() for known in _known(entry)}
    return {**(_model_index() if kind == "model" else _index(kind)), **own}


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

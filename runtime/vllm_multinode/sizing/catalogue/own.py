"""Entries of the user's own: a YAML file that MULTINODE_CATALOGUE names.

    models:
      - {name: our-org/our-model, config: our-model/config.json, weight_bytes: 141107412992}
    accelerators:
      - {name: lab-gpu, memory_gb: 96, bandwidth_gbs: 4000, interconnect_gbs: 450, fp8: true}
    shapes:
      - {name: lab-node, accelerator: lab-gpu, accelerators: 8, memory_gib: 1024, vcpus: 128, rdma: true}

The fields are those of the catalogue's records. An entry replaces one of the same name.
"""

import difflib
import functools
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Final

from vllm_multinode.checkpoint.config import CONFIG, read_config
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.faults import first_fault
from vllm_multinode.k8s.parser import Node, parse, read_text
from vllm_multinode.sizing.catalogue.records import RECORDS, Entry, Kind

# What an entry of one's own may leave out, though the catalogue's never do.
_DEFAULTS: Final[Mapping[Kind, Mapping[str, Any]]] = {
    "accelerator": {
        "vendor": "nvidia", "family": "cuda", "interconnect": "pcie", "fp8": False, "fp4": False,
        "resource": "nvidia.com/gpu",
    },
    "shape": {"provider": "server"},
    "model": {},
}  # fmt: skip
_LISTS: Final[Mapping[str, Kind]] = {f"{kind}s": kind for kind in RECORDS}


@functools.lru_cache(maxsize=8)
def own_entries(path: str) -> Mapping[Kind, Mapping[str, Entry]]:
    """The entries of a file, by kind and name.

    Raises:
        MultinodeError: VARIABLE, where there is no such file; USAGE, with file and line, for a wrong entry.
    """
    found: dict[Kind, dict[str, Entry]] = {kind: {} for kind in RECORDS}
    for document in _documents(path):
        if not isinstance(document.value, dict):
            raise _bad(path, document.line, "it is not a mapping with models, accelerators or shapes.")
        for key, (name, listed) in document.value.items():
            kind = _LISTS.get(key)
            if kind is None:
                what = f"'{key}' is not one of {', '.join(_LISTS)}."
                raise _bad(path, name.line, what)
            if not isinstance(listed.value, list):
                raise _bad(path, listed.line, f"{key} is not a list of entries.")
            for node in listed.value:
                entry = _entry(path, kind, node)
                found[kind][entry.name] = entry
    return found


def _documents(path: str) -> list[Node]:
    try:
        with Path(path).open("rb") as file:
            text = read_text(file, path)
        return parse(text, path)
    except OSError as error:
        what = f"the file cannot be read: {error.strerror or error}."
        hint = "Correct the variable, or unset it."
        raise MultinodeError(ExitCode.VARIABLE, what, where=f"{env.CATALOGUE} ({path})", hint=hint) from error
    except MultinodeError as error:
        raise MultinodeError(ExitCode.USAGE, error.what, where=error.where, hint=error.hint) from error


def _entry(path: str, kind: Kind, node: Node) -> Entry:
    """One entry as a record."""
    if not isinstance(node.value, dict):
        raise _bad(path, node.line, f"an entry of {kind}s is not a mapping.")
    record, given = RECORDS[kind], node.data()
    allowed = {field.name: field for field in fields(record)}
    for key, (name, _) in node.value.items():
        if key not in allowed:
            close = difflib.get_close_matches(key, allowed, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It has {', '.join(allowed)}."
            raise _bad(path, name.line, f"{kind} has no field '{key}'.", hint)
    whole = {"source": [path], **_DEFAULTS[kind], **given}
    for key, field in allowed.items():
        if key not in whole and field.default is MISSING and field.default_factory is MISSING:
            raise _bad(path, node.line, f"the {kind} has no {key}.")
    if isinstance(whole.get("config"), str):
        whole["config"] = _config(path, node, whole["config"])
    return _validated(path, record, node, whole)


def _validated(path: str, record: type[Entry], node: Node, whole: Mapping[str, Any]) -> Entry:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(record).validate_python(whole)
    except ValidationError as error:
        fault = first_fault(error)
        _, line = node.find(fault.steps)
        raise _bad(path, line, f"{fault}.") from error


def _config(path: str, node: Node, given: str) -> dict[str, Any]:
    """A model's configuration in a file beside this one."""
    place = Path(path).parent / given
    if place.is_dir():
        place = place / CONFIG
    if not place.is_file():
        _, line = node.find(("config",))
        what = f"config: there is no file {given}."
        raise _bad(path, line, what, "Name a config.json, relative to this file, or write its fields here.")
    return read_config(place)


def _bad(path: str, line: int, what: str, hint: str = "") -> MultinodeError:
    return MultinodeError(ExitCode.USAGE, what, where=f"{path}:{line}", hint=hint)

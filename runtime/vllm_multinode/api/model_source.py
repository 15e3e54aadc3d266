"""The model that a user names: what `sizing` finds on this machine, or hf:// and what the hub answers."""

import os
from dataclasses import replace
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.model.sources import Source, find_model, from_config, from_tensors

HUB: Final = "hf://"
_OFFLINE: Final = "Without a network, give a name of the catalogue (`multinode models`) or a config.json."


def named_model(name: str) -> Source:
    """Find a model: hf://org/name[@revision], a folder, a config.json, or a name of the catalogue.

    Raises:
        MultinodeError: as `find_model` and `read_hub_model`.
    """
    if not name.startswith(HUB):
        return find_model(name)
    # Late: what asks a network is loaded only where one is asked.
    from vllm_multinode.storage.hub_model import read_hub_model

    try:
        found = read_hub_model(name, os.environ)
    except MultinodeError as error:
        if error.code is ExitCode.USAGE:
            # The address itself is not repeated: it may hold a token.
            what = "the model is not written as hf://org/name or hf://org/name@revision."
            raise MultinodeError(error.code, what, hint="Set the token in HF_TOKEN.") from error
        if error.code is ExitCode.SOURCE_UNREACHABLE:
            hint = " ".join(filter(None, (error.hint, _offline(name))))
            raise MultinodeError(error.code, error.what, where=error.where, hint=hint) from error
        raise
    place = f"{found.name}: config.json"
    if found.tensors:
        source = from_tensors(found.name, found.config, place, found.tensors, found.name)
    else:
        source = from_config(found.name, found.config, place, found.weight_bytes or None)
    return replace(source, notes=(*found.notes, *source.notes), hub=found.name)


def _offline(name: str) -> str:
    """What can be done without the hub."""
    repository = name.removeprefix(HUB).partition("@")[0]
    try:
        return f"The catalogue knows it too, without a network: {catalogue.model(repository).name}."
    except MultinodeError:
        return _OFFLINE

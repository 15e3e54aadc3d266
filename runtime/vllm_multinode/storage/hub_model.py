"""What a plan needs of a model at a hub: configuration, bytes of the weights, a single file's tensors.

No weight is read. A checkpoint of many files is known by its configuration and the files' sizes; of one file
the header is read as well, by a range request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vllm_multinode.checkpoint.config import CONFIG, MOST_BYTES, QUANTIZATION, read_object, with_quantization
from vllm_multinode.checkpoint.kinds import refuse_kind
from vllm_multinode.checkpoint.safetensors import PREFIX, Tensor, header_bytes, parse_header
from vllm_multinode.checkpoint.shards import indexed_files, weight_files
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources.bounded import within
from vllm_multinode.storage.sources.hub import Hub
from vllm_multinode.storage.sources.open import open_source
from vllm_multinode.storage.sources.source import Item, PassingError, no_address

LONGEST: Final = 60.0
"""Seconds that the whole reading may take."""
_FIRST: Final = 1 << 16
"""Bytes of the first request for a header: few are longer, and then a second one follows."""


@dataclass(frozen=True)
class HubModel:
    """A model as its hub has it.

    Attributes:
        name: hf://org/name[@revision].
        commit: that the revision stands for now.
        config: of config.json, with the quantisation that ModelOpt keeps in a file of its own.
        tensors: of a checkpoint of one safetensors file; empty for all others.
        weight_bytes: of the weight files that vLLM loads; 0 where there are none.
        notes: what does not agree.
    """

    name: str
    commit: str
    config: dict[str, Any]
    tensors: tuple[Tensor, ...] = ()
    weight_bytes: int = 0
    notes: tuple[str, ...] = ()


def read_hub_model(address: str, environment: Mapping[str, str], longest: float = LONGEST) -> HubModel:
    """Read a model of a hub.

    Args:
        address: hf://org/name[@revision].
        environment: with HF_ENDPOINT and HF_TOKEN, HF_TOKEN_PATH or HF_HOME.
        longest: seconds that it may take.

    Raises:
        MultinodeError: USAGE, VARIABLE, SOURCE_DENIED, SOURCE_UNREACHABLE, MODEL_MISSING, MODEL_CONFIG.
    """
    hub = open_source(address, environment)
    if not isinstance(hub, Hub):
        raise no_address(address)
    try:
        return within(longest, lambda: _read(hub), "the hub's answer")
    except PassingError as error:
        hint = "Try again, set HF_ENDPOINT to a nearer mirror, or check the proxy."
        raise MultinodeError(ExitCode.SOURCE_UNREACHABLE, f"{error}.", where=hub.name, hint=hint) from error
    except MultinodeError as error:
        # What reads local files says to copy them again; of the repository as a whole nobody says that.
        damaged = error.code in (ExitCode.MODEL_CONFIG, ExitCode.SHARD_TRUNCATED) and error.where != hub.name
        hint = "Check HF_ENDPOINT and the repository." if damaged else error.hint
        raise MultinodeError(error.code, error.what, where=error.where or hub.name, hint=hint) from error


def _read(hub: Hub) -> HubModel:
    listing = hub.listing()
    files = {item.name: item for item in listing.items}
    refuse_kind(files, hub.name, "repository")
    if CONFIG not in files:
        hint = "Give the repository of the whole model."
        raise MultinodeError(
            ExitCode.MODEL_MISSING, f"the repository has no {CONFIG}.", where=hub.name, hint=hint
        )
    config = _object(hub, files[CONFIG])
    if QUANTIZATION in files:
        config = with_quantization(config, lambda: _object(hub, files[QUANTIZATION]))
    names, notes = _weights(hub, files)
    return HubModel(
        hub.name,
        listing.revision,
        config,
        _tensors(hub, files[names[0]]) if len(names) == 1 and not notes else (),
        sum(files[name].size for name in names),
        notes,
    )


def _weights(hub: Hub, files: Mapping[str, Item]) -> tuple[list[str], tuple[str, ...]]:
    """The weight files that vLLM loads, and what is to be said of them."""
    names, index = weight_files(name for name in files if "/" not in name)
    if index and files[index].size <= MOST_BYTES:
        named = indexed_files(hub.beginning(files[index], files[index].size), f"{hub.name}: {index}")
        absent = [name for name in named if name not in files]
        names = [name for name in named if name in files]
        if absent:
            what = f"{index} names {len(named)} files, {len(absent)} of which the hub lacks: {absent[0]}"
            return names, (f"{hub.name}: {what}.",)
    if not names:
        return [], (f"{hub.name}: no weights that vLLM loads; they are counted from {CONFIG}.",)
    return names, ()


def _tensors(hub: Hub, item: Item) -> tuple[Tensor, ...]:
    """What the header of a checkpoint's only file tells; nothing for formats without one."""
    if not item.name.endswith(".safetensors"):
        return ()
    where = f"{hub.name}: {item.name}"
    start = hub.beginning(item, min(_FIRST, item.size))
    length = header_bytes(where, start, item.size)
    if len(start) < PREFIX + length:
        start = hub.beginning(item, PREFIX + length)
    return tuple(parse_header(where, start[PREFIX : PREFIX + length]).tensors())


def _object(hub: Hub, item: Item) -> dict[str, Any]:
    """A JSON file of the repository."""
    where = f"{hub.name}: {item.name}"
    if item.size > MOST_BYTES:
        what = f"is longer than {MOST_BYTES >> 20} MiB, too long for a configuration."
        raise MultinodeError(ExitCode.MODEL_CONFIG, what, where=where, hint="Check the repository.")
    return read_object(hub.beginning(item, item.size), where)

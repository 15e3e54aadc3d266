"""The weight files of a model directory: which ones the engine loads, and whether they are whole.

Only file lengths and safetensors headers are read, never a tensor.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal

from vllm_multinode.checkpoint.config import MOST_BYTES, read_object
from vllm_multinode.checkpoint.safetensors import damaged, read_header, unreadable
from vllm_multinode.contract.bounded import open_file, read_bounded
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

Part = Literal["embedding", "norm", "head", "other"]
"""Where a tensor outside the hidden layers belongs; "other" is what its name does not tell."""

# Enough to hide a network filesystem's latency, few enough to leave the server alone.
_READERS = 8
# File name patterns and index of each format, in the order in which vLLM looks for them.
_FORMATS = (
    ("consolidated*.safetensors", "consolidated.safetensors.index.json"),
    ("*.safetensors", "model.safetensors.index.json"),
    ("*.bin", "pytorch_model.bin.index.json"),
    ("*.pt", ""),
)
_NUMBERED = re.compile(r"^(?P<stem>.+)-(?P<number>\d+)-of-(?P<of>\d+)(?P<suffix>\.\w+)$")
# What trainers leave beside the weights; vLLM skips the same names.
_NOT_WEIGHTS = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")

_CONTAINERS = frozenset(
    {
        "backbone",
        "base_model",
        "decoder",
        "gpt_neox",
        "language_model",
        "llm",
        "model",
        "text_model",
        "thinker",
        "transformer",
    }
)
_LAYER_LISTS = frozenset({"block", "blocks", "h", "layer", "layers"})
_PARTS: dict[str, Part] = {
    "embed_in": "embedding",
    "embed_positions": "embedding",
    "embed_tokens": "embedding",
    "embeddings": "embedding",
    "tok_embeddings": "embedding",
    "word_embeddings": "embedding",
    "wpe": "embedding",
    "wte": "embedding",
    "final_layer_norm": "norm",
    "final_layernorm": "norm",
    "ln_f": "norm",
    "norm": "norm",
    "norm_f": "norm",
    "embed_out": "head",
    "lm_head": "head",
    "output": "head",
}


@dataclass(frozen=True, slots=True)
class Shard:
    """One weight file.

    Attributes:
        name: relative to the model directory.
        bytes: the file's length.
        checked: its length was held against its header; False for formats that have none.
        header: SHA-256 of the header, hexadecimal; empty where there is none.
        layers: numbers of the hidden layers of which it holds tensors.
        parts: what it holds besides.
    """

    name: str
    bytes: int
    checked: bool
    header: str
    layers: frozenset[int]
    parts: frozenset[Part]


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight files that the engine will load, and what says so.

    Attributes:
        names: files, relative to the model directory, in order.
        index: the index file's name; empty where the directory's listing decides.
        index_digest: SHA-256 of the index file, hexadecimal; empty without one.
    """

    names: tuple[str, ...]
    index: str = ""
    index_digest: str = ""


def find_weights(directory: Path, listing: Sequence[str]) -> Weights:
    """Choose the weight files as vLLM's loader does with `--load-format auto`.

    That is: `consolidated*.safetensors` where there are any, else `*.safetensors`, else `*.bin`, else `*.pt`,
    reduced to what the index of that format names.

    Args:
        directory: the model directory.
        listing: the names in it.

    Raises:
        MultinodeError: SHARD_ABSENT when there are no weights or the index names files that are not there;
            MODEL_CONFIG when the index cannot be read.
    """
    names, index = weight_files(listing)
    if index:
        # Where nothing that it names is there, the index says more than "no weights".
        return _indexed(directory, index)
    if not names:
        raise _no_weights(directory, sorted(listing))
    _refuse_gaps(directory, names)
    return Weights(tuple(names))


def weight_files(listing: Iterable[str]) -> tuple[list[str], str]:
    """The files of the format that vLLM takes from a listing, and the index of that format, if it has one."""
    names = sorted(name for name in listing if not name.endswith(_NOT_WEIGHTS))
    for pattern, index in _FORMATS:
        if found := [name for name in names if fnmatchcase(name, pattern)]:
            return found, index if index in names else ""
    return [], next((index for _, index in _FORMATS if index in names), "")


def read_shards(directory: Path, weights: Weights) -> tuple[Shard, ...]:
    """Read the length and header of every weight file, a few at a time.

    Raises:
        MultinodeError: SHARD_ABSENT, SHARD_TRUNCATED.
    """
    readers = min(_READERS, len(weights.names))
    # Late: a plan for a name of the catalogue reads no shard.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(readers, thread_name_prefix="shard") as pool:
        return tuple(pool.map(lambda name: read_shard(directory, name), weights.names))


def read_shard(directory: Path, name: str) -> Shard:
    """Read one weight file's length and header.

    Raises:
        MultinodeError: SHARD_ABSENT when it cannot be opened, SHARD_TRUNCATED when its length is not what its
            header says or when it has no header.
    """
    path = directory / name
    if name.endswith(".safetensors"):
        header = read_header(path)
        places = {place(tensor) for tensor in header.entries}
        layers = frozenset(where for where in places if isinstance(where, int))
        parts = frozenset(where for where in places if not isinstance(where, int))
        return Shard(name, header.file_bytes, True, header.digest, layers, parts)
    try:
        length = path.stat().st_size
        open_file(path).close()
    except OSError as error:
        raise unreadable(path, error) from error
    if length == 0:
        raise damaged(path, "the file is empty.")
    return Shard(name, length, False, "", frozenset(), frozenset({"other"}))


def place(tensor: str) -> int | Part:
    """Say where a tensor belongs by its name: the number of its hidden layer, or its part of the model.

    A vision tower's or an audio encoder's layers are not hidden layers of the language model: "other".
    """
    components = tensor.split(".")
    while components and components[0] in _CONTAINERS:
        components.pop(0)
    if len(components) > 1 and components[0] in _LAYER_LISTS and components[1].isdecimal():
        return int(components[1])
    return _PARTS.get(components[0], "other") if components else "other"


def _indexed(directory: Path, index: str) -> Weights:
    """Read an index and hold its files against the directory."""
    path = directory / index
    try:
        content = read_bounded(path, MOST_BYTES)
    except OSError as error:
        raise _bad_index(path, f"cannot be read: {error.strerror or error}.") from error
    names = indexed_files(content, path)
    absent = [name for name in names if not (directory / name).exists()]
    if absent:
        raise _absent(path, absent[0], len(absent), f"it names {len(names)}")
    return Weights(tuple(names), index, hashlib.sha256(content).hexdigest())


def indexed_files(content: bytes, where: Path | str) -> list[str]:
    """Return the file names of an index, each once, in order.

    As new strings: one that survived the parse would keep alive the memory around it, some 16 MiB in all for
    the ninety thousand tensors of a large mixture of experts.

    Raises:
        MultinodeError: MODEL_CONFIG, where it is no index of files beside it.
    """
    try:
        names = sorted(set(read_object(content, where)["weight_map"].values()))
        names = [name.encode().decode() for name in names]
    except (UnicodeError, KeyError, TypeError, AttributeError) as error:
        raise _bad_index(where, 'is not an index: there is no "weight_map" of file names.') from error
    if not names or any(not _inside(name) for name in names):
        raise _bad_index(where, 'is not an index: its "weight_map" names no file in this directory.')
    return names


def _inside(name: str) -> bool:
    """Tell whether an index's entry is a file name that stays in the directory."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts


def _refuse_gaps(directory: Path, names: Sequence[str]) -> None:
    """Without an index, "-00002-of-00007" still tells how many files there must be."""
    present: dict[tuple[str, int, str, str], set[int]] = {}
    for match in filter(None, map(_NUMBERED.match, names)):
        series = (match["stem"], len(match["number"]), match["of"], match["suffix"])
        present.setdefault(series, set()).add(int(match["number"]))
    for (stem, width, of, suffix), numbers in present.items():
        absent = int(of) - len(numbers)
        # Some writers count from nought.
        if absent > 0 and 0 not in numbers:
            first = next(number for number in range(1, int(of) + 1) if number not in numbers)
            name = f"{stem}-{first:0{width}d}-of-{of}{suffix}"
            raise _absent(directory, name, absent, f"by their numbers there are {int(of)}")


def _bad_index(path: Path | str, what: str) -> MultinodeError:
    return MultinodeError(ExitCode.MODEL_CONFIG, what, where=str(path), hint="Copy this file again.")


def _absent(where: Path, first: str, absent: int, expected: str) -> MultinodeError:
    others = f" and {absent - 1} more" if absent > 1 else ""
    verb = "are" if others else "is"
    what = f"{expected} weight files, of which {absent} {verb} not there: {first}{others}."
    return MultinodeError(ExitCode.SHARD_ABSENT, what, where=str(where), hint="Finish the copy of the model.")


def _no_weights(directory: Path, names: Sequence[str]) -> MultinodeError:
    what = "no weights: neither *.safetensors nor *.bin nor *.pt."
    hint = "Finish the copy of the model."
    if any(name.endswith(".gguf") for name in names):
        what = "no weights that can be served from a directory: only GGUF, which vLLM loads as a single file."
        hint = "Use the model's safetensors."
    return MultinodeError(ExitCode.SHARD_ABSENT, what, where=str(directory), hint=hint)

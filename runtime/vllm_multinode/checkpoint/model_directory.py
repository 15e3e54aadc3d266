"""The model directory: is it there, is it complete, and what its configuration says of the model."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_multinode.checkpoint.config import (
    CONFIG,
    HEADS,
    LAYERS,
    VOCABULARY,
    count,
    kv_heads,
    language_model,
    read_config,
)
from vllm_multinode.checkpoint.fetched import check_finished, check_shards
from vllm_multinode.checkpoint.kinds import check_kind
from vllm_multinode.checkpoint.mounts import mounted_from
from vllm_multinode.checkpoint.shards import Shard, Weights, find_weights, read_shards
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.kserve import CLAIM_SCHEME, claim_and_path

# Mistral's own format, which vLLM reads as well.
PARAMS = "params.json"
_TOKENIZER_FILES = frozenset(
    {"merges.txt", "tekken.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json"}
)


@dataclass(frozen=True, slots=True)
class Model:
    """What a model directory holds. A number that the configuration does not give is None.

    Attributes:
        path: the directory.
        config_file: where the numbers come from.
        architectures: class names, as the configuration gives them.
        attention_heads: of one layer of the language model.
        kv_heads: of one layer; None also for latent attention, which counts as one head on every rank.
        hidden_layers: of the language model.
        vocabulary: tokens.
        quantization: the method's name, empty without one.
        shards: the weight files that the engine loads.
        fingerprint: the same for the same model wherever it is mounted. SHA-256, hexadecimal, over the
            configuration, the sizes of the tokenizer's files, the index, and every weight file's name,
            length and header; a change inside a tensor's bytes does not show in it.
        source: where `multinode fetch` had it from, with the revision; empty where it came by another way.
    """

    path: Path
    config_file: Path
    architectures: tuple[str, ...]
    attention_heads: int | None
    kv_heads: int | None
    hidden_layers: int | None
    vocabulary: int | None
    quantization: str
    shards: tuple[Shard, ...]
    fingerprint: str
    source: str = ""

    @property
    def bytes(self) -> int:
        """Length of all weight files together."""
        return sum(shard.bytes for shard in self.shards)


def read_model(directory: Path, *, meant: str = "", unfinished: bool = False) -> Model:
    """Read a model directory: its configuration and the headers of its weights, never a tensor.

    Args:
        directory: the model directory.
        meant: where the model was to come from, such as pvc://claim/path, for messages.
        unfinished: pass its marker over, as the fetch does that is about to call it whole.

    Raises:
        MultinodeError: MODEL_MISSING, MODEL_CONFIG, SHARD_ABSENT or SHARD_TRUNCATED.
    """
    listing = _listing(directory, meant)
    check_kind(directory)
    marker = None if unfinished else check_finished(directory)
    config_file = directory / (CONFIG if CONFIG in listing or PARAMS not in listing else PARAMS)
    if config_file.name not in listing:
        raise _no_config(directory, listing)
    config = read_config(config_file)
    weights = find_weights(directory, sorted(listing))
    shards = read_shards(directory, weights)
    if marker is not None:
        check_shards(directory, marker, shards)
    text = language_model(config)
    architectures = config.get("architectures")
    return Model(
        path=directory,
        config_file=config_file,
        architectures=tuple(map(str, architectures)) if isinstance(architectures, list) else (),
        attention_heads=count(text, HEADS),
        kv_heads=kv_heads(text),
        hidden_layers=count(text, LAYERS),
        vocabulary=count(text, VOCABULARY),
        quantization=_quantization(config, text),
        shards=shards,
        fingerprint=_fingerprint(directory, config, weights, shards, listing),
        source=f"{marker.source} at {marker.revision}" if marker is not None else "",
    )


def _listing(directory: Path, meant: str) -> frozenset[str]:
    """Return the names in the directory, which must be one, readable and not empty."""
    hint = f"{mounted_from(directory)} {_where_to_look(meant)}"
    try:
        listing = frozenset(entry.name for entry in directory.iterdir())
    except FileNotFoundError as error:
        raise _missing(directory, "there is no such model directory.", hint) from error
    except NotADirectoryError as error:
        raise _missing(directory, "the model directory is a file.", hint) from error
    except OSError as error:
        what = f"the model directory cannot be read: {error.strerror or error}."
        raise _missing(directory, what, "Check the volume and its permissions.") from error
    if not listing:
        raise _missing(directory, "the model directory is empty.", hint)
    return listing


def _where_to_look(meant: str) -> str:
    if not meant.startswith(CLAIM_SCHEME):
        return f"Check {meant or 'the claim and path of storageUri, pvc://<claim>/<path>'}."
    claim, folder = claim_and_path(meant)
    place = f"folder {folder}" if folder else "the root"
    return f"It should be {place} of the claim {claim}: check that claim."


def _missing(directory: Path, what: str, hint: str) -> MultinodeError:
    return MultinodeError(ExitCode.MODEL_MISSING, what, where=str(directory), hint=hint)


def _no_config(directory: Path, listing: frozenset[str]) -> MultinodeError:
    """Say that config.json is not there, and where one is, should it be a level or two deeper."""
    hint = "Finish the copy of the model, or point the path of storageUri at the folder that has it."
    patterns = (f"*/{CONFIG}", f"snapshots/*/{CONFIG}", f"models--*/snapshots/*/{CONFIG}")
    deeper = (found for pattern in patterns for found in sorted(directory.glob(pattern)))
    if found := next(deeper, None):
        hint = f"There is one in {found.parent.relative_to(directory)}: add that to the path of storageUri."
    what = f"there is no {CONFIG} among the {len(listing)} entries of the model directory."
    return MultinodeError(ExitCode.MODEL_CONFIG, what, where=str(directory / CONFIG), hint=hint)


def _quantization(config: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    for place in (config, text):
        settings = place.get("quantization_config") or place.get("compression_config")
        if isinstance(settings, dict):
            return str(settings.get("quant_method") or settings.get("quant_algo") or "")
    return ""


def _fingerprint(
    directory: Path,
    config: Mapping[str, Any],
    weights: Weights,
    shards: tuple[Shard, ...],
    listing: frozenset[str],
) -> str:
    """Digest what must be equal on every node; see `Model.fingerprint`."""
    try:
        tokenizer = {name: (directory / name).stat().st_size for name in sorted(_TOKENIZER_FILES & listing)}
    except OSError as error:
        what = f"the tokenizer cannot be read: {error.strerror or error}."
        raise _missing(directory, what, "Finish the copy of the model.") from error
    content = {
        "config": config,
        "tokenizer": tokenizer,
        "index": weights.index_digest,
        "shards": [(shard.name, shard.bytes, shard.header) for shard in shards],
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()

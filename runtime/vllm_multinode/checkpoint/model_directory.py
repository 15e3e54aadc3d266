"""The model directory: is it there, is it complete, and what its configuration says of the model."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_multinode.checkpoint.fetched import check_finished, check_shards
from vllm_multinode.checkpoint.mounts import mounted_from
from vllm_multinode.checkpoint.shards import Shard, Weights, find_weights, read_shards
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.kserve import CLAIM_SCHEME, claim_and_path

_CONFIG = "config.json"
# Mistral's own format, which vLLM reads as well.
_PARAMS = "params.json"
_TOKENIZER_FILES = frozenset(
    {"merges.txt", "tekken.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json"}
)
# Multimodal models keep the language model's sizes one level down.
_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")

_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = (
    "num_key_value_heads",
    "n_head_kv",
    "num_kv_heads",
    "multi_query_group_num",
    "num_attention_groups",
    "n_kv_heads",
)
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_VOCABULARY = ("vocab_size",)


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
    marker = None if unfinished else check_finished(directory)
    config_file = directory / (_CONFIG if _CONFIG in listing or _PARAMS not in listing else _PARAMS)
    if config_file.name not in listing:
        raise _no_config(directory, listing)
    config = _read_object(config_file)
    weights = find_weights(directory, sorted(listing))
    shards = read_shards(directory, weights)
    if marker is not None:
        check_shards(directory, marker, shards)
    text = _text_config(config)
    architectures = config.get("architectures")
    return Model(
        path=directory,
        config_file=config_file,
        architectures=tuple(map(str, architectures)) if isinstance(architectures, list) else (),
        attention_heads=_count(text, _HEADS),
        kv_heads=_kv_heads(text),
        hidden_layers=_count(text, _LAYERS),
        vocabulary=_count(text, _VOCABULARY),
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
    return f"It was to be {place} of the claim {claim}: look into that claim."


def _missing(directory: Path, what: str, hint: str) -> MultinodeError:
    return MultinodeError(ExitCode.MODEL_MISSING, what, where=str(directory), hint=hint)


def _no_config(directory: Path, listing: frozenset[str]) -> MultinodeError:
    """Say that config.json is not there, and where one is, should it be a level or two deeper."""
    hint = "Finish the copy of the model, or point the path of storageUri at the folder that has it."
    patterns = (f"*/{_CONFIG}", f"snapshots/*/{_CONFIG}", f"models--*/snapshots/*/{_CONFIG}")
    deeper = (found for pattern in patterns for found in sorted(directory.glob(pattern)))
    if found := next(deeper, None):
        hint = f"There is one in {found.parent.relative_to(directory)}: add that to the path of storageUri."
    what = f"there is no {_CONFIG} among the {len(listing)} entries of the model directory."
    return MultinodeError(ExitCode.MODEL_CONFIG, what, where=str(directory / _CONFIG), hint=hint)


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    hint = "Copy this file again."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}."
    except json.JSONDecodeError as error:
        what = f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
    except (UnicodeDecodeError, RecursionError):
        what = "is not JSON: not text in UTF-8, or nested without end."
    else:
        if isinstance(content, dict):
            return content
        what = f"is not a JSON object but a {type(content).__name__}."
    raise MultinodeError(ExitCode.MODEL_CONFIG, what, where=str(path), hint=hint)


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the language model's part of the configuration; the whole where it is not divided.

    What that part leaves out is the model class's own default, not the outer configuration's value.
    """
    for key in _NESTED:
        nested = config.get(key)
        if isinstance(nested, dict):
            return _text_config(nested)
    return config


def _count(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """Return the first of the names that gives a positive whole number."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _kv_heads(config: Mapping[str, Any]) -> int | None:
    """Return the number of KV heads where tensor parallelism has to split or repeat them."""
    if config.get("kv_lora_rank") is not None:
        return None
    if config.get("multi_query") is True and not config.get("new_decoder_architecture"):
        # The older Falcons name as many KV heads as heads and yet share one.
        return 1
    return _count(config, _KV_HEADS)


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

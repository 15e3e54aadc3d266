"""Folders that hold something else than a model that vLLM can load, named as what they are."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_multinode.checkpoint.config import CONFIG, MOST_BYTES
from vllm_multinode.contract.bounded import read_bounded
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

_ADAPTER: Final = "adapter_config.json"
WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth")
# Of every kind of tokenizer that transformers and vLLM read, code of a model's own included.
_TOKENIZER_BEGINNINGS: Final = ("tokenizer", "tokenization_", "tekken", "vocab", "merges", "sentencepiece")
_TOKENIZER_ENDINGS: Final = (".tiktoken", ".model")


@dataclass(frozen=True)
class Need:
    """What a model needs besides its files.

    Attributes:
        what: one sentence.
        options: of vLLM; one of them is enough.
    """

    what: str
    options: tuple[str, ...]


OWN_CODE: Final = Need(
    "Its configuration is code of its own, which vLLM runs only with --trust-remote-code.",
    ("--trust-remote-code",),
)
TOKENIZER: Final = Need(
    "There is no tokenizer among its files; vLLM needs --tokenizer, or --skip-tokenizer-init.",
    ("--tokenizer", "--skip-tokenizer-init"),
)


def check_kind(directory: Path) -> None:
    """Refuse a GGUF and a LoRA adapter; says nothing of a directory that cannot be read.

    Raises:
        MultinodeError: MODEL_CONFIG.
    """
    refuse_kind(_names(directory), str(directory), "folder", lambda: _made_for(directory / _ADAPTER))


def refuse_kind(files: Iterable[str], where: str, place: str, made_for: Callable[[], str] = str) -> None:
    """Refuse a GGUF and a LoRA adapter by the names of their files.

    Args:
        files: at the top of the place; what is in folders below is passed over.
        where: the place.
        place: what it is, in a word: folder or repository.
        made_for: " for NAME", the model of an adapter, where that can be told.

    Raises:
        MultinodeError: MODEL_CONFIG.
    """
    names = sorted(name for name in files if "/" not in name)
    weights = [name for name in names if name.endswith(WEIGHTS) and not name.startswith("adapter_")]
    gguf = [name for name in names if name.endswith(".gguf")]
    if gguf and not weights:
        listed = f"{gguf[0]} and {len(gguf) - 1} more" if len(gguf) > 1 else gguf[0]
        raise MultinodeError(
            ExitCode.MODEL_CONFIG,
            f"the {place} holds a GGUF ({listed}), which vLLM does not load from a folder.",
            where=where,
            hint="Use the repository that it was made from, with weights in safetensors.",
        )
    if _ADAPTER in names and (CONFIG not in names or not weights):
        raise MultinodeError(
            ExitCode.MODEL_CONFIG,
            f"the {place} holds a LoRA adapter{made_for()}, not a model.",
            where=where,
            hint="Serve the model that it was made for, and give vLLM the adapter: "
            "--enable-lora --lora-modules NAME=FOLDER.",
        )


def has_tokenizer(directory: Path) -> bool:
    """Whether there is any file of a tokenizer."""
    return any(
        name.startswith(_TOKENIZER_BEGINNINGS) or name.endswith(_TOKENIZER_ENDINGS)
        for name in _names(directory)
    )


def check_tokenizer(directory: Path) -> None:
    """Refuse a model without any file of a tokenizer.

    Raises:
        MultinodeError: MODEL_CONFIG.
    """
    if has_tokenizer(directory):
        return
    raise MultinodeError(
        ExitCode.MODEL_CONFIG,
        "the model has no tokenizer: there is no tokenizer.json, tokenizer.model or the like.",
        where=str(directory),
        hint="Copy the tokenizer's files beside the weights, name another one with --tokenizer, or add "
        "--skip-tokenizer-init where requests carry token ids.",
    )


def _names(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return []


def _made_for(config: Path) -> str:
    try:
        base = json.loads(read_bounded(config, MOST_BYTES)).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return f" for {base}" if isinstance(base, str) and base and base.isprintable() else ""

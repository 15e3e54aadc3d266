"""Folders that hold something else than a model that vLLM can load, named as what they are."""

import json
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


def check_kind(directory: Path) -> None:
    """Refuse a GGUF and a LoRA adapter; says nothing of a directory that cannot be read.

    Raises:
        MultinodeError: MODEL_CONFIG.
    """
    names = _names(directory)
    weights = [name for name in names if name.endswith(WEIGHTS) and not name.startswith("adapter_")]
    gguf = [name for name in names if name.endswith(".gguf")]
    if gguf and not weights:
        files = f"{gguf[0]} and {len(gguf) - 1} more" if len(gguf) > 1 else gguf[0]
        raise MultinodeError(
            ExitCode.MODEL_CONFIG,
            f"the folder holds a GGUF ({files}), which vLLM does not load from a folder.",
            where=str(directory),
            hint="Use the repository that it was made from, with weights in safetensors.",
        )
    if _ADAPTER in names and (CONFIG not in names or not weights):
        raise MultinodeError(
            ExitCode.MODEL_CONFIG,
            f"the folder holds a LoRA adapter{_made_for(directory / _ADAPTER)}, not a model.",
            where=str(directory),
            hint="Serve the model that it was made for, and give vLLM the adapter: "
            "--enable-lora --lora-modules NAME=FOLDER.",
        )


def check_tokenizer(directory: Path) -> None:
    """Refuse a model without any file of a tokenizer.

    Raises:
        MultinodeError: MODEL_CONFIG.
    """
    for name in _names(directory):
        if name.startswith(_TOKENIZER_BEGINNINGS) or name.endswith(_TOKENIZER_ENDINGS):
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

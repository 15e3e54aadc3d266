"""Which of a source's files are the model that vLLM loads."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

from vllm_multinode.storage.sources.source import Item, is_model_file

_SAFETENSORS: Final = "*.safetensors"
# The same weights again, in a form that vLLM passes over where there are safetensors beside it.
_OTHER_WEIGHTS: Final = (
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.h5",
    "*.msgpack",
    "*.gguf",
    "*.onnx",
    "*.onnx_data",
    "*.ot",
    "*.tflite",
)
# Meta's own format, a second copy of the weights; vLLM leaves the folder out as well (--ignore-patterns).
_ORIGINAL: Final = "original"


def select(items: Iterable[Item], include: Sequence[str], exclude: Sequence[str]) -> tuple[Item, ...]:
    """Choose the files to fetch.

    Args:
        items: what the source has.
        include: patterns of names to fetch and nothing else; empty fetches what vLLM loads: without hidden
            files, without `original/`, and without other forms of the weights where there are safetensors.
        exclude: patterns of names to leave out.
    """
    chosen = [item for item in items if is_model_file(item.name)]
    if include:
        chosen = [item for item in chosen if _matches(item.name, include)]
    else:
        chosen = [item for item in chosen if PurePosixPath(item.name).parts[0] != _ORIGINAL]
        if any(fnmatchcase(item.name, _SAFETENSORS) for item in chosen):
            chosen = [item for item in chosen if not _matches(item.name, _OTHER_WEIGHTS)]
    return tuple(item for item in chosen if not _matches(item.name, exclude))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

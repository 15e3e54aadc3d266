"""A small random Llama with a tokenizer, made offline with the standard library: the same bytes each time."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.tiny_model import model_tokenizer, model_weights
from vllm_multinode.local.tiny_model.model_weights import DType, Sizes

MADE_BY = "multinode local make-model"
MADE_NAMES = re.compile(
    r"(generation_)?config\.json|tokenizer(_config)?\.json|model\.safetensors\.index\.json"
    r"|model-\d{5}-of-\d{5}\.safetensors"
)


@dataclass(frozen=True)
class MadeModel:
    """What was written: parameters are counted, sizes are in bytes of the shard files."""

    directory: Path
    parameters: int
    size: int
    shards: int


def make_model(
    directory: Path,
    *,
    layers: int = 4,
    heads: int = 4,
    kv_heads: int = 2,
    width: int = 64,
    intermediate: int | None = None,
    vocab: int | None = None,
    shards: int = 2,
    seed: int = 0,
    dtype: DType = "float32",
) -> MadeModel:
    """Write a Llama of random weights, as Hugging Face lays one out.

    It is written beside `directory` and renamed, so that what stands there is always whole. A model that an
    earlier call made is replaced.

    Args:
        directory: the model directory to make.
        layers: decoder layers.
        heads: attention heads.
        kv_heads: key-value heads; divides `heads`.
        width: hidden size.
        intermediate: the feed-forward network's inner size; 3 * width by default.
        vocab: rows of the embedding; the tokenizer's size by default, and never less.
        shards: safetensors files.
        seed: of the weights.
        dtype: of the weights. With float32 (and `vllm serve --dtype float32`) greedy completions are the same
            for every split of the model.

    Raises:
        MultinodeError: a size cannot be, or something else stands in `directory` (MODEL_NOT_MADE).
    """
    tokenizer, tokenizer_config, words = model_tokenizer.build()
    least = model_tokenizer.vocabulary_size(tokenizer)
    sizes = Sizes(
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        width=width,
        intermediate=3 * width if intermediate is None else intermediate,
        vocab=least if vocab is None else vocab,
        shards=shards,
        dtype=dtype,
    )
    _check_sizes(sizes, least)
    small_files = {
        "config.json": _config(sizes, tokenizer),
        "generation_config.json": _generation_config(tokenizer),
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": tokenizer_config,
    }
    directory = directory.resolve()
    try:
        _check_directory(directory)
        with _replacing(directory) as unfinished:
            for name, content in small_files.items():
                _write_json(unfinished / name, content)
            return _write_weights(unfinished, directory, sizes, tuple(words), seed)
    except OSError as error:
        raise MultinodeError(
            ExitCode.MODEL_NOT_MADE,
            f"The model cannot be written: {error.strerror or error}.",
            where=str(directory),
            hint="Choose a writable directory with enough free space.",
        ) from error


def _check_sizes(sizes: Sizes, least_vocab: int) -> None:
    for name in ("layers", "heads", "kv_heads", "width", "intermediate", "shards"):
        if getattr(sizes, name) < 1:
            raise _refusal(name, f"is {getattr(sizes, name)}; it must be at least 1.")
    if sizes.dtype not in model_weights.BYTES_PER_VALUE:
        raise _refusal(
            "dtype", f"is {sizes.dtype!r}; it must be one of {', '.join(model_weights.BYTES_PER_VALUE)}."
        )
    if sizes.heads % sizes.kv_heads:
        raise _refusal("kv_heads", f"is {sizes.kv_heads}, which is not a divisor of {sizes.heads} heads.")
    if sizes.width > sizes.heads * model_weights.HEAD_SIZES[-1]:
        raise _refusal(
            "heads",
            f"is {sizes.heads}; with a width of {sizes.width} a head would have more than "
            f"{model_weights.HEAD_SIZES[-1]}.",
        )
    if sizes.vocab < least_vocab:
        raise _refusal("vocab", f"is {sizes.vocab}, but the tokenizer alone has {least_vocab} tokens.")
    count = sum(1 for _ in model_weights.tensors(sizes, ()))
    if sizes.shards > count:
        raise _refusal("shards", f"is {sizes.shards}, but the model has only {count} tensors.")


def _check_directory(directory: Path) -> None:
    if directory.is_dir():
        foreign = _foreign_files(directory)
        if not foreign:
            return
        shown = f"{', '.join(foreign[:3])}{', ...' if foreign[3:] else ''}"
        what = f"contains files that this command did not create: {shown}."
    elif directory.exists():
        what = "is not a directory."
    else:
        return
    raise MultinodeError(
        ExitCode.MODEL_NOT_MADE, what, where=str(directory), hint="Choose a new or an empty directory."
    )


def _foreign_files(directory: Path) -> list[str]:
    """List what replacing the directory would lose: everything, unless an earlier call made it."""
    names = sorted(path.name for path in directory.iterdir())
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return names
    if not isinstance(config, dict) or config.get("made_by") != MADE_BY:
        return names
    return [name for name in names if not MADE_NAMES.fullmatch(name)]


def _refusal(option: str, what: str) -> MultinodeError:
    return MultinodeError(ExitCode.MODEL_NOT_MADE, what, where=option, hint="Choose another size.")


@contextmanager
def _replacing(directory: Path) -> Iterator[Path]:
    """Give a sibling to write into, which takes the directory's place when the block ends well."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        unfinished.chmod(0o755)  # mkdtemp lets nobody else in, and a model is read by any user
        yield unfinished
        if directory.exists():
            shutil.rmtree(directory)
        unfinished.rename(directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _config(sizes: Sizes, tokenizer: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "made_by": MADE_BY,
        "torch_dtype": sizes.dtype,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_size,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.intermediate,
        "vocab_size": sizes.vocab,
        "max_position_embeddings": model_tokenizer.MAX_LENGTH,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": model_tokenizer.special_id(tokenizer, model_tokenizer.BOS),
        "eos_token_id": model_tokenizer.special_id(tokenizer, model_tokenizer.EOS),
    }


def _generation_config(tokenizer: dict[str, Any]) -> dict[str, Any]:
    ends = (model_tokenizer.EOS, model_tokenizer.TURN_END)
    return {
        "bos_token_id": model_tokenizer.special_id(tokenizer, model_tokenizer.BOS),
        "eos_token_id": [model_tokenizer.special_id(tokenizer, end) for end in ends],
    }


def _write_weights(
    unfinished: Path, directory: Path, sizes: Sizes, words: tuple[int, ...], seed: int
) -> MadeModel:
    """Write the shards and their index; the result names the directory that they end up in."""
    tensors = list(model_weights.tensors(sizes, words))
    value_size = model_weights.BYTES_PER_VALUE[sizes.dtype]
    total = sum(tensor.values for tensor in tensors) * value_size
    weight_map: dict[str, str] = {}
    size = 0
    for number, shard in enumerate(model_weights.split(tensors, sizes.shards), start=1):
        name = f"model-{number:05d}-of-{sizes.shards:05d}.safetensors"
        weight_map |= dict.fromkeys((tensor.name for tensor in shard), name)
        with (unfinished / name).open("wb") as file:
            model_weights.write_shard(file, shard, sizes.dtype, seed)
            size += file.tell()
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(unfinished / "model.safetensors.index.json", index)
    return MadeModel(directory, total // value_size, size, sizes.shards)

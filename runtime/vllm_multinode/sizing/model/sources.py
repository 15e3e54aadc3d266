"""Finds the model that a user names: a folder, a config.json, or a name of the catalogue."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vllm_multinode.checkpoint.config import CONFIG, QUANTIZATION, read_config, with_quantization
from vllm_multinode.checkpoint.kinds import OWN_CODE, TOKENIZER, Need, check_kind, has_tokenizer
from vllm_multinode.checkpoint.safetensors import Tensor
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.model.architecture import Architecture, read_architecture
from vllm_multinode.sizing.model.splits import Cut, cut
from vllm_multinode.sizing.model.tensors import contradictions, cut_tensors, read_tensors

# Counted and published bytes that differ by less are the same, but for the files' own headers.
_AGREE = 0.01
# Beyond this factor the layers are not the model's.
_CLOSE = 1.25


@dataclass(frozen=True)
class Source:
    """A model, and where its facts come from.

    Attributes:
        name: as the user gave it.
        model: its architecture.
        tensors: of its files, where they were read; the weights are then exact.
        published_bytes: of its files, where only that is known.
        scale: by which the derived weights are corrected to what is published.
        notes: what does not agree, and what is unconfirmed.
        hub: hf://org/name[@revision] that its files can be fetched from; empty for unknown.
        needs: what it needs besides its files.
    """

    name: str
    model: Architecture
    tensors: tuple[Tensor, ...] = ()
    published_bytes: int | None = None
    scale: float = 1.0
    notes: tuple[str, ...] = ()
    hub: str = ""
    needs: tuple[Need, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether weights were counted from files rather than from the configuration."""
        return bool(self.tensors)

    @property
    def checkpoint_bytes(self) -> int:
        """Of its files: published, or counted."""
        return int(self.published_bytes or self.cut(1).checkpoint)

    def cut(self, tp: int) -> Cut:
        """Its weights for one tensor parallel size."""
        if self.tensors:
            return cut_tensors(self.tensors, self.model, tp)
        counted = cut(self.model, tp)
        return counted if self.scale == 1 else counted.scaled(self.scale)


def find_model(name: str) -> Source:
    """Find a model.

    Args:
        name: a folder with a config.json, such a file, or a name of the catalogue.

    Raises:
        MultinodeError: MODEL_MISSING, MODEL_CONFIG, SHARD_ABSENT, SHARD_TRUNCATED; USAGE for unknown names.
    """
    path = Path(name)
    is_folder, is_file = kind_of(path)
    if is_folder:
        return _from_folder(path, name)
    if is_file or path.suffix == ".json":
        return Source(name, read_architecture(read_config(path), str(path)))
    if name.startswith((".", "/", "~")):
        what = "there is no such folder or file."
        raise MultinodeError(
            ExitCode.MODEL_MISSING, what, where=name, hint="Give a folder with a config.json."
        )
    facts = catalogue.model(name)
    own = catalogue.is_own(facts)
    place = f"{facts.source[0] if own else 'catalogue'}, {facts.name}"
    found = from_config(name, facts.config, place, facts.weight_bytes)
    doubts = (f"{place}: {key} is unconfirmed ({why})." for key, why in facts.unconfirmed.items())
    hub = "" if own else f"hf://{facts.name}"
    return replace(found, notes=(*found.notes, *doubts), hub=hub)


def kind_of(path: Path) -> tuple[bool, bool]:
    """Whether there is a folder of that name, and whether there is a file."""
    try:
        return path.is_dir(), path.is_file()
    except (OSError, ValueError):
        # Too long for a name, or with a NUL in it.
        return False, False


def from_config(name: str, config: dict[str, Any], place: str, published: int | None = None) -> Source:
    """A model of a parsed configuration, checked against the bytes that its publisher gives, if any."""
    model = read_architecture(config, place)
    notes: tuple[str, ...] = ()
    scale = 1.0
    if published:
        counted = max(cut(model, 1).checkpoint, 1.0)
        if abs(published / counted - 1) > _AGREE:
            scale = published / counted
            figures = f"{published / 1e9:.2f} GB are published and {counted / 1e9:.2f} GB are counted"
            notes = (f"{place}: {figures}; weights are scaled to the published size.",)
            if not 1 / _CLOSE < scale < _CLOSE:
                notes += (f"{place}: the configuration is incomplete; KV cache and stages are guesses.",)
    needs = _code(config, model)
    return Source(name, model, published_bytes=published, scale=scale, notes=notes, needs=needs)


def from_tensors(
    name: str, config: dict[str, Any], place: str, tensors: tuple[Tensor, ...], files: str
) -> Source:
    """A model whose configuration is parsed and whose tensors are known, held against each other.

    Args:
        name: as the user gave it.
        config: of config.json.
        place: of config.json, for messages.
        tensors: of the weight files; empty where there are none.
        files: where these are, for messages.
    """
    model = read_architecture(config, place)
    notes = contradictions(tensors, model, cut(model, 1).checkpoint) if tensors else ()
    noted = tuple(f"{files}: {note}" for note in notes)
    return Source(name, model, tensors, notes=noted, needs=_code(config, model))


def _code(config: dict[str, Any], model: Architecture) -> tuple[Need, ...]:
    """A configuration that only the model's own code reads: vLLM does not know the architecture."""
    own = config.get("auto_map")
    return (OWN_CODE,) if isinstance(own, dict) and own and model.pipeline is None else ()


def _from_folder(folder: Path, name: str) -> Source:
    check_kind(folder)
    config = folder / CONFIG
    if not config.is_file():
        what = "the folder has no config.json."
        raise MultinodeError(
            ExitCode.MODEL_MISSING, what, where=str(folder), hint="Give the model's own folder."
        )
    found = read_config(config)
    if (folder / QUANTIZATION).is_file():
        found = with_quantization(found, lambda: read_config(folder / QUANTIZATION))
    source = from_tensors(name, found, str(config), read_tensors(folder), str(folder))
    lacks = (TOKENIZER,) if source.tensors and not has_tokenizer(folder) else ()
    return replace(source, needs=(*source.needs, *lacks))

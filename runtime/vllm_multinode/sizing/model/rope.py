"""Tables of rotary positions: buffers that an engine computes at loading and no checkpoint holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_multinode.sizing.model.fields import MOST, Fields

_MOST_FACTOR = 1 << 12
_FLOAT32 = 4
# vLLM's MRotaryEmbedding makes its table four times as long: positions of a video count its seconds.
_SECTIONED = 4


@dataclass(frozen=True, slots=True)
class RopeTable:
    """One table of cosines and sines; layers that share its parameters share it.

    Attributes:
        rows: positions.
        dim: numbers of a row.
        width: bytes of a number; 0 for the model's dtype.
    """

    rows: int
    dim: int
    width: int = 0

    def bytes(self, dtype_bytes: int) -> int:
        """Bytes on every rank of every stage."""
        return self.rows * self.dim * (self.width or dtype_bytes)


def rope_tables(text: Fields, head_dim: int, latent_dim: int) -> tuple[RopeTable, ...]:
    """Tables of a language model, as vLLM's rotary_embedding classes size them.

    Args:
        text: the language model's part of the configuration.
        head_dim: of an attention head.
        latent_dim: the part of a key with position, of latent attention; 0 without it.
    """
    rows = text.count("max_position_embeddings", default=0, least=0)
    if not rows:
        return ()
    dim = latent_dim or int(head_dim * _partial(text))
    tables = [_table(rows, dim, scaling) for scaling in _scalings(text)]
    if text.model_type.startswith("gemma3") and len(tables) == 1:
        # Windows keep positions that are not scaled.
        tables.append(RopeTable(rows, dim))
    return tuple(dict.fromkeys(tables))


def _partial(text: Fields) -> float:
    given = text.get("partial_rotary_factor", "rotary_pct")
    if given is None:
        for scaling in _scalings(text):
            given = given or scaling.get("partial_rotary_factor")
    return given if isinstance(given, float) and 0 < given <= 1 else 1.0


def _scalings(text: Fields) -> Iterator[Mapping[str, Any]]:
    """How positions are scaled: one way for all layers, or one for each kind of layer."""
    for name in ("rope_scaling", "rope_parameters"):
        found = text.values.get(name)
        if isinstance(found, Mapping):
            inner = [value for value in found.values() if isinstance(value, Mapping)]
            yield from inner or [found]
            return
    yield {}


def _table(rows: int, dim: int, scaling: Mapping[str, Any]) -> RopeTable:
    kind = scaling.get("rope_type", scaling.get("type"))
    factor = scaling.get("factor")
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor <= _MOST_FACTOR:
        factor = 1
    original = scaling.get("original_max_position_embeddings")
    base = original if isinstance(original, int) and 0 < original <= MOST else rows
    if "mrope_section" in scaling:
        return RopeTable(_SECTIONED * rows, dim)
    if kind in ("yarn", "deepseek_yarn"):
        return RopeTable(int(base * factor), dim, _FLOAT32 if kind == "deepseek_yarn" else 0)
    if kind in ("linear", "dynamic"):
        return RopeTable(int(rows * factor), dim)
    if kind in ("longrope", "su"):
        return RopeTable(base + rows, dim)
    return RopeTable(rows, dim)

"""One weight of a model, and how much of it lands on one rank."""

from typing import Literal, NamedTuple

# divided: 1/TP of it on every rank. replicated: all of it. heads: whole heads, never less than one.
# vocabulary: rows padded to 64 and divided.
Split = Literal["divided", "replicated", "heads", "vocabulary"]

# vLLM's DEFAULT_VOCAB_PADDING_SIZE.
VOCABULARY_PADDING = 64


class Weight(NamedTuple):
    """A matrix (or vector, with into=1) of shape [out, into], `copies` times.

    Attributes:
        name: its module's path inside the layer, as checkpoints name it; quantisation lists name it so.
        out: rows.
        into: columns.
        split: what TP does to it.
        heads: of a weight that is split by heads: how many there are.
        copies: how many equal ones there are (experts).
        linear: whether it belongs to a linear layer, which quantisation replaces.
        width: bytes per element where it is not the model's dtype.
        stored: whether the checkpoint holds it (a tied copy, or what the engine derives, is not there).
        loaded: whether the engine loads it.
    """

    name: str
    out: int
    into: int = 1
    split: Split = "replicated"
    heads: int = 0
    copies: int = 1
    linear: bool = False
    width: float | None = None
    stored: bool = True
    loaded: bool = True

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return self.out * self.into * self.copies


def share(total: float, split: Split, tp: int, heads: int = 0, rows: int = 0) -> float:
    """Bytes of `total` on the fullest of TP ranks.

    Args:
        total: bytes of the whole.
        split: what TP does.
        tp: tensor parallel size.
        heads: for "heads".
        rows: for "vocabulary": tokens before padding.
    """
    if tp <= 1 and split != "vocabulary":
        return total
    if split == "divided":
        return total / tp
    if split == "heads" and heads:
        return total * max(1, -(-heads // tp)) / heads
    if split == "vocabulary" and rows:
        padded = -(-rows // VOCABULARY_PADDING) * VOCABULARY_PADDING
        return total * -(-padded // tp) / rows
    return total


def matrix(
    name: str, out: int, into: int, split: Split = "divided", *, heads: int = 0, copies: int = 1
) -> Weight:
    """The matrix of a linear layer."""
    return Weight(name, out, into, split, heads, copies, linear=True)


def vector(name: str, length: int, split: Split = "replicated", *, heads: int = 0, copies: int = 1) -> Weight:
    """A bias or the scale of a norm."""
    return Weight(name, length, 1, split, heads, copies)

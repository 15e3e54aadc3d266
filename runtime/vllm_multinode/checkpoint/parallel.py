"""The sizes that no model can be divided by: TP against its heads, PP against its layers."""

from dataclasses import dataclass
from typing import Literal

Rule = Literal["heads", "kv-heads", "layers"]


@dataclass(frozen=True, slots=True)
class Indivisible:
    """Why a size is rejected.

    Attributes:
        rule: its name, the same for every model.
        what: the sentence, with the numbers.
        hint: which sizes are possible.
    """

    rule: Rule
    what: str
    hint: str


def heads_refusal(heads: int, tp: int, size: str = "") -> Indivisible | None:
    """Attention heads against tensor parallelism: each rank takes an equal number of them.

    Args:
        heads: of a layer.
        tp: tensor parallel size.
        size: what to call it in the sentence; "TP 8" by default.
    """
    if heads % tp == 0:
        return None
    divisors = ", ".join(str(rank) for rank in range(1, heads + 1) if heads % rank == 0)
    what = f"{heads} attention heads are not divisible by {size or f'TP {tp}'}."
    return Indivisible("heads", what, f"Every rank takes an equal number of heads: use one of {divisors}.")


def kv_heads_refusal(heads: int, tp: int, size: str = "") -> Indivisible | None:
    """KV heads against tensor parallelism: they are divided, or repeated where there are fewer than ranks.

    Args:
        heads: KV heads of a layer.
        tp: tensor parallel size.
        size: what to call it in the sentence; "TP 8" by default.
    """
    if max(heads, tp) % min(heads, tp) == 0:
        return None
    what = f"{heads} KV heads can be neither divided nor repeated evenly over {size or f'TP {tp}'}."
    return Indivisible("kv-heads", what, f"Use a divisor or a multiple of {heads}.")


def layers_refusal(layers: int, pp: int, size: str = "") -> Indivisible | None:
    """Hidden layers against pipeline parallelism: every stage needs one.

    Args:
        layers: hidden layers of the model.
        pp: pipeline parallel size.
        size: what to call it in the sentence; "PP 4" by default.
    """
    if pp <= layers:
        return None
    what = f"{layers} hidden layers are fewer than {size or f'PP {pp}'}."
    return Indivisible("layers", what, f"Every stage needs a layer: use {layers} stages at most.")

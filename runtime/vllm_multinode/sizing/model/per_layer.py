"""What a configuration says of one layer: lists with an entry a layer, and what holds for some kinds only."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm_multinode.checkpoint.config import HEADS, KV_HEADS
from vllm_multinode.sizing.model.fields import Fields
from vllm_multinode.sizing.model.patterns import Kind

# Sizes of which a configuration may give a list with an entry a layer instead of a number.
_LISTED: Final = (
    *HEADS, *KV_HEADS, "head_dim", "intermediate_size", "ffn_dim", "moe_intermediate_size",
    "n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts",
    "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k",
    "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts",
)  # fmt: skip
# MiMo's sizes of layers that see a window, each under the name of the same size with this before it.
_WINDOW_PREFIX: Final = "swa_"
_WINDOW_SIZES: Final = ("num_attention_heads", "num_key_value_heads", "head_dim", "v_head_dim")
# Step's sizes of the layers of one kind, in an object of their own.
_OTHER_SETTING: Final = "attention_other_setting"
_OTHER_KINDS: Final[Mapping[str, Kind]] = {"sliding_attention": "sliding", "full_attention": "full"}


class LayerFields:
    """The fields of every layer of a configuration; layers that agree in all of them share one object.

    Args:
        text: the language model's configuration.
        count: its layers.

    Raises:
        MultinodeError: MODEL_CONFIG, where a list is shorter than the layers.
    """

    def __init__(self, text: Fields, count: int) -> None:
        self._text = text
        self._lists = _lists(text, count)
        self._made: dict[tuple[str, ...], Fields] = {}

    def of(self, index: int, kind: Kind) -> Fields:
        """The fields of one layer."""
        own = {name: values[index] for name, values in self._lists.items()} | self._of_kind(kind)
        if not own:
            return self._text
        key = tuple(map(repr, own.items()))
        if key not in self._made:
            self._made[key] = Fields({**self._text.values, **own}, self._text.place)
        return self._made[key]

    def most(self, *names: str, default: int = 0) -> int:
        """The greatest of a size over all layers."""
        entries = next((self._lists[name] for name in names if name in self._lists), None)
        if entries is None:
            return self._text.count(*names, default=default, least=0, most=1 << 20)
        return max(self._text.whole(entry, names[0], least=0, most=1 << 20) for entry in entries)

    def _of_kind(self, kind: Kind) -> dict[str, Any]:
        """What holds for the layers of this kind alone."""
        values = self._text.values
        found: dict[str, Any] = {}
        if kind == "sliding":
            given = {name: values.get(_WINDOW_PREFIX + name) for name in _WINDOW_SIZES}
            found = {name: value for name, value in given.items() if value is not None}
        other = self._text.inner(_OTHER_SETTING)
        if other is not None and _OTHER_KINDS.get(other.text("attention_type")) == kind:
            found |= {
                name: value for name, value in other.values.items() if name in (*HEADS, *KV_HEADS, "head_dim")
            }
        return found


def _lists(text: Fields, count: int) -> dict[str, Sequence[Any]]:
    lists: dict[str, Sequence[Any]] = {}
    for name in _LISTED:
        values = text.values.get(name)
        if isinstance(values, list):
            if len(values) < count:
                raise text.bad(name, f"has {len(values)} entries where num_hidden_layers is {count}")
            lists[name] = values
    shared = text.count("num_kv_shared_layers", default=0, least=0)
    if "intermediate_size" not in lists and shared and text.flag("use_double_wide_mlp"):
        wide = text.count("intermediate_size")
        lists["intermediate_size"] = [2 * wide if index >= count - shared else wide for index in range(count)]
    return lists

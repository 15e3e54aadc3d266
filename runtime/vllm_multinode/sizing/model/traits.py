"""What distinguishes model types beyond the numbers of their configurations."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from vllm_multinode.sizing.model.layers import QkNorm


@dataclass(frozen=True, slots=True)
class Traits:
    """Of a model type.

    Attributes:
        gated: feed-forward blocks of three matrices.
        qkv_bias: of the projections; None where the configuration says it.
        o_bias: of the output projection; None for the same as qkv_bias.
        mlp_bias: of feed-forward blocks; None where the configuration says it.
        norms: vectors of the model's width in every layer.
        norm_bias: whether each of them has a bias.
        qk_norm: of queries and keys.
        positions: whether positions are learnt, in a table.
        gate: whether the query projection carries an output gate.
        head_bias: of the output head.
    """

    gated: bool = True
    qkv_bias: bool | None = None
    o_bias: bool | None = None
    mlp_bias: bool | None = None
    norms: int = 2
    norm_bias: bool = False
    qk_norm: QkNorm = ""
    positions: bool = False
    gate: bool = False
    head_bias: bool = False


_LLAMA = Traits()
_CLASSIC = Traits(gated=False, qkv_bias=True, mlp_bias=True, norm_bias=True)
_QWEN2 = Traits(qkv_bias=True, o_bias=False)
_QWEN3 = Traits(qk_norm="head")
_GEMMA = Traits(norms=4)

_TRAITS = {
    "qwen2": _QWEN2,
    "qwen2_moe": _QWEN2,
    "qwen2_vl_text": _QWEN2,
    "qwen2_5_vl_text": _QWEN2,
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": _QWEN2,
    "qwen2_5_omni_text": _QWEN2,
    "qwen": _QWEN2,
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3,
    "qwen3_vl_text": _QWEN3,
    "qwen3_vl_moe_text": _QWEN3,
    "qwen3_omni_moe_text": _QWEN3,
    "qwen3_next": replace(_QWEN3, gate=True),
    "qwen3_5_text": replace(_QWEN3, gate=True),
    "qwen3_5_moe_text": replace(_QWEN3, gate=True),
    "chatglm": Traits(o_bias=False),
    "glm4": Traits(norms=4, o_bias=False),
    "glm": Traits(o_bias=False),
    "glm4_moe": Traits(o_bias=False),
    "glm4v_text": Traits(norms=4, qkv_bias=True, o_bias=False),
    "glm4v_moe_text": Traits(qkv_bias=True, o_bias=False),
    "seed_oss": Traits(o_bias=False),
    "dots1": Traits(qk_norm="head"),
    "hunyuan_v1_dense": Traits(qk_norm="head"),
    "hunyuan_v1_moe": Traits(qk_norm="head"),
    "gemma2": _GEMMA,
    "gemma3_text": replace(_GEMMA, qk_norm="head"),
    "gemma3n_text": replace(_GEMMA, qk_norm="head"),
    "gemma4_text": replace(_GEMMA, qk_norm="head"),
    "cohere": Traits(norms=1),
    "cohere2": Traits(norms=1),
    "olmo": Traits(norms=0),
    "olmo2": Traits(qk_norm="full"),
    "olmo3": Traits(qk_norm="full"),
    "olmoe": Traits(qk_norm="full"),
    "minimax_m2": Traits(qk_norm="full"),
    "exaone4": Traits(qk_norm="head"),
    "falcon": Traits(gated=False, norm_bias=True),
    "gpt_neox": _CLASSIC,
    "gpt2": replace(_CLASSIC, positions=True),
    "gpt_bigcode": replace(_CLASSIC, positions=True),
    "opt": replace(_CLASSIC, positions=True),
    "bloom": _CLASSIC,
    "phi": replace(_CLASSIC, norms=1, head_bias=True),
    "starcoder2": Traits(gated=False, norm_bias=True),
    "mpt": Traits(gated=False, qkv_bias=False, mlp_bias=False),
    "nemotron": Traits(gated=False, norm_bias=True),
    "nemotron_h": Traits(gated=False, norms=1),
    "stablelm": Traits(norm_bias=True, o_bias=False),
    "phimoe": Traits(norm_bias=True, head_bias=True),
    "gpt_oss": Traits(qkv_bias=True, o_bias=True),
    "llama4_text": _LLAMA,
    "mamba": Traits(norms=1),
    "mamba2": Traits(norms=1),
    "falcon_mamba": Traits(norms=1),
    "arcee": Traits(gated=False),
    "apertus": Traits(gated=False, qk_norm="head"),
    "lfm2": Traits(qk_norm="head"),
    "lfm2_moe": Traits(qk_norm="head"),
}


# Read in vLLM 0.32.0 and measured: these load the table, or the head, on every pipeline stage.
_BOTH_EVERYWHERE = frozenset(
    {
        "bloom", "chatglm", "dbrx", "falcon", "falcon_mamba", "gpt2", "gptj", "gpt_oss", "granitemoe",
        "granitemoehybrid", "granitemoeshared", "hy_v3", "internlm2", "jamba", "mamba", "mamba2", "minicpm",
        "mixtral", "nemotron_h", "olmo_hybrid", "olmoe", "opt", "phimoe", "qwen2_moe", "qwen3_moe",
        "qwen3_next", "qwen3_omni_moe_text", "qwen3_vl_moe_text", "stablelm", "zamba2",
    }
)  # fmt: skip
_TABLE_EVERYWHERE = frozenset(
    {
        "cohere", "cohere2", "cohere2_moe", "gemma", "gemma2", "gemma3_text", "gemma4_text",
        "gemma4_unified_text", "lfm2", "lfm2_moe", "orion", "qwen3_5_moe_text", "qwen3_5_text",
    }
)  # fmt: skip


_FIRST_EVERYWHERE = frozenset({"gemma4_text", "gemma4_unified_text", "gpt2", "opt"})


class Everywhere(NamedTuple):
    """What every pipeline stage has.

    Attributes:
        table: of the vocabulary.
        head: of the output.
        first: what else belongs to the first stage: positions, or embeddings per layer.
    """

    table: bool = False
    head: bool = False
    first: bool = False


def everywhere(model_type: str) -> Everywhere:
    """What every pipeline stage of this model type has."""
    both = model_type in _BOTH_EVERYWHERE
    return Everywhere(both or model_type in _TABLE_EVERYWHERE, both, model_type in _FIRST_EVERYWHERE)


def traits_of(model_type: str) -> Traits:
    """Of a model type; Llama's where it has none of its own."""
    return _TRAITS.get(model_type, _LLAMA)

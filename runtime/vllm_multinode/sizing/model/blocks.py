"""Builds the mixer and the feed-forward block of a layer from a configuration."""

from vllm_multinode.checkpoint.config import HEADS, HIDDEN, KV_HEADS
from vllm_multinode.sizing.model.fields import Fields
from vllm_multinode.sizing.model.layers import Attention, Compression, Dense, Experts, LatentAttention
from vllm_multinode.sizing.model.patterns import Kind
from vllm_multinode.sizing.model.recurrent import (
    DeltaNet,
    Lightning,
    Mamba1,
    Mamba2,
    Recurrent,
    ShortConvolution,
)
from vllm_multinode.sizing.model.traits import Traits

EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
_ACTIVE = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "top_k_experts")
_WIDE = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "block_ff_dim")
# By whether the layer sees a window.
_SINKS = ("add_full_attention_sink_bias", "add_swa_attention_sink_bias")
# vLLM's classes load these routers in four bytes.
_FLOAT32_ROUTERS = frozenset({"mimo_v2_flash", "minimax_m2", "minimax_m3_text", "step3p5"})
# Those that vLLM has kernels for.
_COMPRESS_RATIOS = (0, 1, 4, 128)
_BIAS = ("attention_bias", "qkv_bias", "use_qkv_bias", "use_bias", "bias")


def attention(
    text: Fields, traits: Traits, kind: Kind, index: int, layers: int
) -> Attention | LatentAttention:
    """The attention of a layer."""
    if text.get("kv_lora_rank") is not None and text.model_type != "kimi_linear_dense":
        return _latent(text)
    hidden, heads = text.count(*HIDDEN), text.count(*HEADS, most=1 << 16)
    sliding = kind == "sliding"
    kv_heads = _kv_heads(text, heads, full=not sliding)
    head_dim = _head_dim(text, hidden, heads, full=not sliding)
    bias = traits.qkv_bias if traits.qkv_bias is not None else text.flag(*_BIAS, default=False)
    shared = text.count("num_kv_shared_layers", default=0, least=0)
    index_heads, index_dim = indexer(text, index)
    own_window = text.count("sliding_window", "sliding_window_size", "window_size", default=0, least=-1)
    if own_window > 0 and text.model_type == "cohere2":
        own_window += 1  # Cohere's window does not count the token itself.
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        v_head_dim=text.count("v_head_dim", default=head_dim)
        if text.model_type.startswith("mimo")
        else head_dim,
        window=own_window if sliding and own_window > 0 else None,
        chunk=text.count("attention_chunk_size") if kind == "chunked" else None,
        qkv_bias=bias,
        o_bias=bias if traits.o_bias is None else traits.o_bias,
        qk_norm=traits.qk_norm or ("head" if _says_qk_norm(text) else ""),
        gate=heads if traits.gate or text.flag("attn_output_gate") else 0,
        head_gate=text.flag("use_head_wise_attn_gate"),
        sinks=text.model_type == "gpt_oss" or text.flag(_SINKS[sliding]),
        shares_cache=index >= layers - shared > 0 and shared > 0,
        keys_are_values=text.flag("attention_k_eq_v") and not sliding,
        index_heads=index_heads,
        index_dim=index_dim,
        compression=compression(text, index),
    )


def compression(text: Fields, index: int) -> Compression | None:
    """Of the cache of DeepSeek-V4's layers; one that the list leaves out has its window alone."""
    if text.model_type != "deepseek_v4" or not (ratios := text.listed("compress_ratios")):
        return None
    ratio = text.whole(ratios[index], f"compress_ratios[{index}]", 0) if index < len(ratios) else 0
    if ratio not in _COMPRESS_RATIOS:
        raise text.bad(f"compress_ratios[{index}]", f"is {ratio}, which is not one of 0, 1, 4 and 128")
    return Compression(ratio, text.count("sliding_window"), text.count("index_head_dim"))


def indexer(text: Fields, index: int) -> tuple[int, int]:
    """Heads and head dimension of the indexer that MiniMax-M3's sparse layers have; zeros without one."""
    sparse = text.inner("sparse_attention_config")
    if sparse is None or not sparse.flag("use_sparse_attention", default=True):
        return 0, 0
    chosen = sparse.listed("sparse_attention_freq")
    if chosen and not (index < len(chosen) and chosen[index]):
        return 0, 0
    return sparse.count("sparse_num_index_heads"), sparse.count("sparse_index_dim")


def _says_qk_norm(text: Fields) -> bool:
    # Llama 4 norms without learning anything.
    return text.flag("use_qk_norm", "qk_layernorm", "qk_norm") and text.model_type != "llama4_text"


def _kv_heads(text: Fields, heads: int, *, full: bool) -> int:
    if full and text.says("num_global_key_value_heads") and text.flag("attention_k_eq_v"):
        return text.count("num_global_key_value_heads")
    if text.model_type == "falcon" and not text.flag("new_decoder_architecture"):
        return 1 if text.flag("multi_query", default=True) else heads
    if text.model_type == "gpt_bigcode":
        return 1 if text.flag("multi_query", default=True) else heads
    if text.model_type == "chatglm" and not text.flag("multi_query_attention"):
        return heads
    return text.count(*KV_HEADS, default=heads, most=1 << 16)


def _head_dim(text: Fields, hidden: int, heads: int, *, full: bool) -> int:
    if full and text.says("global_head_dim"):
        return text.count("global_head_dim")
    given = text.count(
        "head_dim", "attention_head_dim", "kv_channels", "hidden_size_per_head", default=0, least=0
    )
    return given or max(1, hidden // heads)


def _latent(text: Fields) -> LatentAttention:
    indexed = text.says("index_topk") or text.model_type in ("deepseek_v32", "glm_moe_dsa")
    given = text.values.get("q_lora_rank", text.get("q_lora_rank"))
    return LatentAttention(
        heads=text.count(*HEADS, most=1 << 16),
        q_rank=0 if given is None else text.count("q_lora_rank", least=0),
        kv_rank=text.count("kv_lora_rank"),
        nope_dim=text.count("qk_nope_head_dim", default=128),
        rope_dim=text.count("qk_rope_head_dim", default=64, least=0),
        v_head_dim=text.count("v_head_dim", default=128),
        bias=text.flag("attention_bias"),
        gate=text.flag("mla_use_output_gate"),
        index_heads=text.count("index_n_heads", default=64) if indexed else 0,
        index_dim=text.count("index_head_dim", default=128) if indexed else 0,
    )


def recurrent(text: Fields, hidden: int) -> Recurrent:
    """The recurrence of a layer that has one."""
    kind = text.model_type
    if kind.startswith("lfm2"):
        return ShortConvolution(text.count("conv_dim", default=hidden), text.count("conv_L_cache", default=3))
    if text.values.get("linear_attn_config") is not None:
        return _kimi(text)
    if text.get("linear_num_value_heads") is not None:
        return DeltaNet(
            key_heads=text.count("linear_num_key_heads", default=16),
            key_dim=text.count("linear_key_head_dim", default=128),
            value_heads=text.count("linear_num_value_heads"),
            value_dim=text.count("linear_value_head_dim", default=128),
            kernel=text.count("linear_conv_kernel_dim", default=4),
            float32_state=text.text("mamba_ssm_dtype") == "float32",
        )
    if kind.startswith("minimax"):
        heads = text.count(*HEADS, most=1 << 16)
        return Lightning(heads, _head_dim(text, hidden, heads, full=True))
    if kind in ("mamba", "falcon_mamba", "jamba") or text.says("mamba_dt_rank", "time_step_rank"):
        return _mamba1(text, hidden)
    return _mamba2(text, hidden)


def _kimi(text: Fields) -> DeltaNet:
    inner = text.inner("linear_attn_config")
    source = inner if inner is not None else text
    heads, dim = source.count("num_heads", default=32), source.count("head_dim", default=128)
    kernel = source.count("short_conv_kernel_size", default=4)
    full_gate = source.flag("use_full_rank_gate")
    return DeltaNet(heads, dim, heads, dim, kernel, low_rank=dim, full_gate=full_gate, float32_state=True)


def _mamba1(text: Fields, hidden: int) -> Mamba1:
    expand = text.count("mamba_expand", "expand", default=2)
    rank = text.get("mamba_dt_rank", "time_step_rank")
    return Mamba1(
        inner=text.count("mamba_intermediate_size", default=expand * hidden),
        state=text.count("mamba_d_state", "state_size", default=16),
        kernel=text.count("mamba_d_conv", "conv_kernel", default=4),
        rank=rank if isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 else -(-hidden // 16),
        bias=text.flag("mamba_proj_bias", "use_bias"),
        conv_bias=text.flag("mamba_conv_bias", "use_conv_bias", default=True),
        norms=text.model_type == "jamba",
    )


def _mamba2(text: Fields, hidden: int) -> Mamba2:
    expand = text.count("mamba_expand", "expand", default=2)
    inner = text.count("mamba_d_ssm", default=expand * hidden)
    dim = text.get("mamba_d_head", "mamba_head_dim", "mamba_headdim", "head_dim")
    heads = text.count(
        "mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads", default=128, most=1 << 20
    )
    size = dim if isinstance(dim, int) and not isinstance(dim, bool) and dim > 0 else max(1, inner // heads)
    default_state = "float32" if text.model_type == "nemotron_h" else ""
    return Mamba2(
        heads=heads,
        head_dim=size,
        state=text.count("mamba_d_state", "ssm_state_size", "state_size", default=128),
        groups=text.count("mamba_n_groups", "n_groups", "mamba_ngroups", default=1),
        kernel=text.count("mamba_d_conv", "conv_kernel", default=4),
        bias=text.flag("mamba_proj_bias", "use_bias"),
        conv_bias=text.flag("mamba_conv_bias", "use_conv_bias", default=True),
        norm=text.flag("mamba_rms_norm", default=True),
        state_bytes=4 if (text.text("mamba_ssm_cache_dtype") or default_state) == "float32" else 0,
    )


def feed_forward(text: Fields, traits: Traits, *, experts: bool) -> Dense | Experts:
    """The feed-forward block of a layer."""
    bias = (
        traits.mlp_bias if traits.mlp_bias is not None else text.flag("mlp_bias", "use_bias", default=False)
    )
    if not experts:
        return Dense(_dense_width(text), traits.gated, bias=bias)
    return _experts(text, traits)


def _dense_width(text: Fields) -> int:
    hidden = text.count(*HIDDEN)
    if text.model_type == "llama4_text":
        return text.count("intermediate_size_mlp", default=16384)
    if text.model_type.startswith("lfm2") and text.flag("block_auto_adjust_ff_dim", default=True):
        return _adjusted(text)
    if text.get("shared_intermediate_size") is not None and text.model_type.startswith("granitemoehybrid"):
        return text.count("shared_intermediate_size")
    return text.count("dense_intermediate_size", *_WIDE, default=4 * hidden)


def _adjusted(text: Fields) -> int:
    """LFM2 makes its width of two thirds, a multiplier and a rounding."""
    if text.model_type != "lfm2":
        return text.count(*_WIDE)
    wide = int(2 * text.count(*_WIDE) / 3)
    factor = text.get("block_ffn_dim_multiplier")
    if isinstance(factor, int | float) and 0 < factor < 100:
        wide = int(factor * wide)
    multiple = text.count("block_multiple_of", default=256)
    return multiple * -(-wide // multiple)


def _experts(text: Fields, traits: Traits) -> Experts:
    routed = text.count(*EXPERTS, most=1 << 20)
    wide = text.count("moe_intermediate_size", "expert_ffn_hidden_size", *_WIDE)
    return Experts(
        routed=routed,
        active=min(routed, text.count(*_ACTIVE, default=2, most=1 << 20)),
        expert=Dense(wide, traits.gated, bias=text.model_type == "gpt_oss"),
        shared=_shared_width(text, wide),
        shared_gate=text.model_type == "qwen2_moe"
        or text.model_type.startswith(("qwen3_next", "qwen3_5_moe")),
        router_bias=text.model_type == "gpt_oss"
        or text.text("topk_method") == "noaux_tc"
        or text.flag("use_moe_router_bias", "moe_router_enable_expert_bias", "use_routing_bias"),
        router_float32=text.model_type in _FLOAT32_ROUTERS,
        dense=text.count("intermediate_size") if text.flag("enable_moe_block") else 0,
        latent=text.count("moe_latent_size", "routed_expert_hidden_size", default=0, least=0),
    )


def _shared_width(text: Fields, wide: int) -> int:
    """Width of the experts that every token uses, all of them together."""
    given = text.get(
        "moe_shared_expert_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size",
        "share_expert_dim",
    )  # fmt: skip
    if given is not None:
        return text.whole(given, "shared_expert_intermediate_size", least=0)
    if text.model_type == "llama4_text":
        return text.count("intermediate_size")
    how_many = text.count(
        "n_shared_experts",
        "num_shared_experts",
        "num_shared_expert",
        "moe_num_shared_experts",
        default=0,
        least=0,
    )
    return how_many * wide

"""The parts that layers are made of, and the weights of each."""

from dataclasses import dataclass
from typing import Literal

from vllm_multinode.sizing.model.weights import Weight, matrix, vector

QkNorm = Literal["", "head", "full"]


@dataclass(frozen=True, slots=True)
class Compression:
    """How DeepSeek-V4's layers keep fewer entries than tokens.

    Attributes:
        ratio: tokens of one compressed entry: 4 or 128; 0 or 1 for a layer that sees its window alone.
        window: tokens before the last one that every layer keeps uncompressed.
        index_dim: head dimension of the indexer that layers of ratio 4 have.
    """

    ratio: int
    window: int
    index_dim: int


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention over keys and values of every token, or of the last `window` or `chunk` ones.

    Attributes:
        heads: query heads.
        kv_heads: key and value heads; 1 is MQA, as many as heads is MHA.
        head_dim: of queries and keys.
        v_head_dim: of values.
        window: tokens that a sliding-window layer sees; None for all.
        chunk: tokens of one chunk of chunked attention; None for all.
        qkv_bias: of the three projections.
        o_bias: of the output projection.
        qk_norm: none, over one head's dimension, or over the whole width.
        gate: width of an output gate that the query projection carries besides, in heads (0 for none).
        head_gate: a gate of one number per head, from a projection of its own.
        sinks: one learnt number per head.
        shares_cache: takes keys and values of an earlier layer: neither weights nor cache of its own.
        keys_are_values: no value projection; the keys serve as both.
        cross: reads keys of another modality: no cache of the text's tokens.
        index_heads: of a sparse indexer; 0 without one.
        index_dim: its head dimension; its keys are cached beside the others, the same on every TP rank.
        compression: of its cache, where it keeps less than an entry for each token.
    """

    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    window: int | None = None
    chunk: int | None = None
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: QkNorm = ""
    gate: int = 0
    head_gate: bool = False
    sinks: bool = False
    shares_cache: bool = False
    keys_are_values: bool = False
    cross: bool = False
    index_heads: int = 0
    index_dim: int = 0
    compression: Compression | None = None

    def weights(self, hidden: int) -> tuple[Weight, ...]:
        """Its weights in a model of this width."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        values = self.kv_heads * self.v_head_dim
        found = [matrix("self_attn.q_proj", queries + self.gate * self.head_dim, hidden)]
        if not self.shares_cache:
            found.append(matrix("self_attn.k_proj", keys, hidden, "heads", heads=self.kv_heads))
            if not self.keys_are_values:
                found.append(matrix("self_attn.v_proj", values, hidden, "heads", heads=self.kv_heads))
        found.append(matrix("self_attn.o_proj", hidden, self.heads * self.v_head_dim))
        if self.qkv_bias:
            found.append(vector("self_attn.q_proj.bias", queries, "divided"))
            found.append(vector("self_attn.k_proj.bias", keys + values, "heads", heads=self.kv_heads))
        if self.o_bias:
            found.append(vector("self_attn.o_proj.bias", hidden))
        if self.qk_norm == "head":
            found.append(vector("self_attn.q_norm", 2 * self.head_dim))
        elif self.qk_norm == "full":
            found.append(vector("self_attn.q_norm", queries, "divided"))
            found.append(vector("self_attn.k_norm", keys, "heads", heads=self.kv_heads))
        if self.head_gate:
            found.append(matrix("self_attn.g_proj", self.heads, hidden))
        if self.index_heads:
            width = self.index_heads * self.index_dim
            found.append(matrix("self_attn.index_q_proj", width, hidden, "heads", heads=self.index_heads))
            found.append(matrix("self_attn.index_k_proj", self.index_dim, hidden, "replicated"))
        if self.sinks:
            found.append(vector("self_attn.sinks", self.heads, "divided"))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """MLA: one latent vector per token is cached, the same on every TP rank.

    Attributes:
        heads: query heads.
        q_rank: width of the compressed queries; 0 where they are not compressed.
        kv_rank: width of the latent.
        nope_dim: of queries and keys, the part without position.
        rope_dim: of queries and keys, the part with it; cached beside the latent.
        v_head_dim: of values.
        bias: of the projections down.
        gate: whether a projection of the values' width gates what comes out.
        index_heads: of a sparse indexer; 0 without one.
        index_dim: its head dimension.
    """

    heads: int
    q_rank: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    v_head_dim: int
    bias: bool = False
    gate: bool = False
    index_heads: int = 0
    index_dim: int = 0

    def weights(self, hidden: int) -> tuple[Weight, ...]:
        """Its weights; those that the engine derives at loading are not in the checkpoint."""
        query_dim = self.heads * (self.nope_dim + self.rope_dim)
        up = self.heads * (self.nope_dim + self.v_head_dim)
        found = [
            matrix("self_attn.kv_a_proj_with_mqa", self.kv_rank + self.rope_dim, hidden, "replicated"),
            vector("self_attn.kv_a_layernorm", self.kv_rank),
            matrix("self_attn.kv_b_proj", up, self.kv_rank),
            matrix("self_attn.o_proj", hidden, self.heads * self.v_head_dim),
            # W_UK_T and W_UV: kv_b_proj once more, in the model's dtype, for decoding.
            Weight("self_attn.kv_b_proj.absorbed", up, self.kv_rank, "divided", stored=False),
        ]
        if self.q_rank:
            found += [
                matrix("self_attn.q_a_proj", self.q_rank, hidden, "replicated"),
                vector("self_attn.q_a_layernorm", self.q_rank),
                matrix("self_attn.q_b_proj", query_dim, self.q_rank),
            ]
        else:
            found.append(matrix("self_attn.q_proj", query_dim, hidden))
        if self.gate:
            found.append(matrix("self_attn.g_proj", self.heads * self.v_head_dim, hidden))
        if self.bias:
            found.append(
                vector("self_attn.kv_a_proj_with_mqa.bias", self.kv_rank + self.rope_dim + self.q_rank)
            )
        if self.index_heads:
            width = self.index_heads * self.index_dim
            found += [
                matrix("self_attn.indexer.wq_b", width, self.q_rank or hidden, "replicated"),
                matrix("self_attn.indexer.wk", self.index_dim, hidden, "replicated"),
                Weight("self_attn.indexer.weights_proj", self.index_heads, hidden),
                vector("self_attn.indexer.k_norm", 2 * self.index_dim),
            ]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Dense:
    """A feed-forward block.

    Attributes:
        intermediate: its width.
        gated: three matrices instead of two.
        bias: of its projections.
    """

    intermediate: int
    gated: bool = True
    bias: bool = False

    def weights(self, hidden: int, name: str = "mlp", count: int = 1) -> tuple[Weight, ...]:
        """Its weights; `count` times, for experts."""
        wide = self.intermediate
        found = [matrix(f"{name}.up_proj", wide, hidden, copies=count)]
        if self.gated:
            found.append(matrix(f"{name}.gate_proj", wide, hidden, copies=count))
        found.append(matrix(f"{name}.down_proj", hidden, wide, copies=count))
        if self.bias:
            found.append(
                vector(f"{name}.up_proj.bias", wide * (2 if self.gated else 1), "divided", copies=count)
            )
            found.append(vector(f"{name}.down_proj.bias", hidden, copies=count))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts; TP divides the inside of every expert.

    Attributes:
        routed: how many there are.
        active: how many of them a token uses.
        expert: the shape of one.
        shared: width of the expert that every token uses, summed where there are several; 0 for none.
        shared_gate: a learnt gate before the shared expert.
        router_bias: a bias or correction per expert.
        router_float32: whether the router is kept in four bytes.
        dense: width of a dense block beside them in the same layer; 0 for none.
        latent: width that routed experts work in, where it is not the model's; 0 for the model's.
    """

    routed: int
    active: int
    expert: Dense
    shared: int = 0
    shared_gate: bool = False
    router_bias: bool = False
    router_float32: bool = False
    dense: int = 0
    latent: int = 0

    def weights(self, hidden: int) -> tuple[Weight, ...]:
        """Its weights."""
        found = [Weight("mlp.gate", self.routed, hidden, width=4 if self.router_float32 else None)]
        if self.router_bias:
            found.append(vector("mlp.gate.bias", self.routed))
        found += self.expert.weights(self.latent or hidden, "mlp.experts.0", self.routed)
        if self.latent:
            found += [
                matrix("mlp.fc1_latent_proj", self.latent, hidden, "replicated"),
                matrix("mlp.fc2_latent_proj", hidden, self.latent, "replicated"),
            ]
        if self.shared:
            found += Dense(self.shared, self.expert.gated).weights(hidden, "mlp.shared_experts")
            if self.shared_gate:
                found.append(Weight("mlp.shared_expert_gate", 1, hidden))
        if self.dense:
            found += Dense(self.dense, self.expert.gated).weights(hidden)
        return tuple(found)

"""Layers whose memory of the past is a state of constant size: Mamba, linear attention, convolutions."""

from dataclasses import dataclass

from vllm_multinode.sizing.model.weights import Weight, matrix, vector

_FLOAT32 = 4.0


@dataclass(frozen=True, slots=True)
class State:
    """What one request keeps in one layer, in elements on one rank.

    Attributes:
        convolution: of the convolution's window, in the model's dtype.
        recurrent: of the recurrence, `recurrent_bytes` each.
        recurrent_bytes: 0 for the model's dtype.
    """

    convolution: int
    recurrent: int
    recurrent_bytes: int = 0


def _groups(groups: int, tp: int) -> int:
    """Groups of all ranks together: replicated so that every rank has the ones of its heads."""
    return groups if groups % tp == 0 else tp


@dataclass(frozen=True, slots=True)
class Mamba1:
    """Mamba's first version.

    Attributes:
        inner: width of the recurrence.
        state: numbers per channel.
        kernel: of the convolution.
        rank: of the step size's projection.
        bias: of the projections.
        conv_bias: of the convolution.
        norms: norms of step size, B and C (Jamba).
    """

    inner: int
    state: int
    kernel: int
    rank: int
    bias: bool = False
    conv_bias: bool = True
    norms: bool = False

    def weights(self, hidden: int) -> tuple[Weight, ...]:
        """Its weights."""
        found = [
            matrix("mamba.in_proj", 2 * self.inner, hidden),
            Weight("mamba.conv1d", self.inner, self.kernel, "divided"),
            matrix("mamba.x_proj", self.rank + 2 * self.state, self.inner),
            matrix("mamba.dt_proj", self.inner, self.rank),
            vector("mamba.dt_proj.bias", self.inner, "divided"),
            Weight("mamba.A_log", self.inner, self.state, "divided", width=_FLOAT32),
            vector("mamba.D", self.inner, "divided"),
            matrix("mamba.out_proj", hidden, self.inner),
        ]
        if self.conv_bias:
            found.append(vector("mamba.conv1d.bias", self.inner, "divided"))
        if self.bias:
            found.append(vector("mamba.in_proj.bias", 2 * self.inner, "divided"))
            found.append(vector("mamba.out_proj.bias", hidden))
        if self.norms:
            found.append(vector("mamba.dt_layernorm", self.rank + 2 * self.state))
        return tuple(found)

    def memory(self, tp: int) -> State:
        """What a request keeps."""
        inner = -(-self.inner // tp)
        return State(inner * (self.kernel - 1), inner * self.state)

    def refuses(self, tp: int) -> str:
        """Why TP ranks cannot share it; empty where they can."""
        return f"Mamba's inner width ({self.inner})" if self.inner % tp else ""


@dataclass(frozen=True, slots=True)
class Mamba2:
    """Mamba's second version.

    Attributes:
        heads: of the recurrence.
        head_dim: channels of a head.
        state: numbers per channel.
        groups: that share B and C.
        kernel: of the convolution.
        bias: of the projections.
        conv_bias: of the convolution.
        norm: whether its output is normed before the projection.
        state_bytes: of a number of the recurrence; 0 for the model's dtype.
    """

    heads: int
    head_dim: int
    state: int
    groups: int
    kernel: int
    bias: bool = False
    conv_bias: bool = True
    norm: bool = True
    state_bytes: int = 0

    @property
    def inner(self) -> int:
        """Width of the recurrence."""
        return self.heads * self.head_dim

    def weights(self, hidden: int) -> tuple[Weight, ...]:
        """Its weights."""
        shared = 2 * self.groups * self.state
        found = [
            matrix("mamba.in_proj", 2 * self.inner + self.heads, hidden),
            matrix("mamba.in_proj", shared, hidden, "heads", heads=self.groups),
            Weight("mamba.conv1d", self.inner, self.kernel, "divided"),
            Weight("mamba.conv1d", shared, self.kernel, "heads", self.groups),
            vector("mamba.A_log", 3 * self.heads, "divided"),
            matrix("mamba.out_proj", hidden, self.inner),
        ]
        if self.norm:
            found.append(vector("mamba.norm", self.inner, "divided"))
        if self.conv_bias:
            found.append(vector("mamba.conv1d.bias", self.inner + shared, "divided"))
        if self.bias:
            found.append(vector("mamba.in_proj.bias", 2 * self.inner + shared + self.heads, "divided"))
            found.append(vector("mamba.out_proj.bias", hidden))
        return tuple(found)

    def memory(self, tp: int) -> State:
        """What a request keeps."""
        width = self.inner + 2 * _groups(self.groups, tp) * self.state
        heads = -(-self.heads // tp)
        return State(width // tp * (self.kernel - 1), heads * self.head_dim * self.state, self.state_bytes)

    def refuses(self, tp: int) -> str:
        """Why TP ranks cannot share it; empty where they can."""
        if self.heads % tp:
            return f"Mamba's heads ({self.heads})"
        return (
            f"Mamba's groups ({self.groups}, unless there is one)"
            if self.groups % tp and self.groups != 1
            else ""
        )


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """Gated delta rule (Qwen3-Next), or Kimi's delta attention.

    Attributes:
        key_heads: of queries and keys.
        key_dim: their head dimension.
        value_heads: of values.
        value_dim: their head dimension.
        kernel: of the convolution.
        low_rank: width of the low-rank gates of Kimi's; 0 for Qwen's full gate.
        full_gate: whether the output gate of Kimi's is a full matrix beside the low-rank decay.
        float32_state: whether the recurrence is kept in four bytes.
    """

    key_heads: int
    key_dim: int
    value_heads: int
    value_dim: int
    kernel: int
    low_rank: int = 0
    full_gate: bool = False
    float32_state: bool = False

    def weights(self, hidden: int) -> tuple[Weight, ...]:
        """Its weights."""
        keys, values = self.key_heads * self.key_dim, self.value_heads * self.value_dim
        found = [
            matrix("linear_attn.in_proj_qkv", 2 * keys + values, hidden),
            Weight("linear_attn.conv1d", 2 * keys + values, self.kernel, "divided"),
            matrix("linear_attn.out_proj", hidden, values),
            vector("linear_attn.norm", self.value_dim),
        ]
        if self.low_rank:
            full = [matrix("linear_attn.g_proj", values, hidden)]
            return (
                *found,
                Weight("linear_attn.A_log", self.value_heads, 1, "divided", width=_FLOAT32),
                Weight("linear_attn.dt_bias", values, 1, "divided", width=_FLOAT32),
                *self._low_rank(hidden, "f"),
                *(full if self.full_gate else self._low_rank(hidden, "g")),
                matrix("linear_attn.b_proj", self.value_heads, hidden),
            )
        return (
            *found,
            matrix("linear_attn.in_proj_z", values, hidden),
            Weight("linear_attn.in_proj_ba", 2 * self.value_heads, hidden, "divided"),
            vector("linear_attn.A_log", 2 * self.value_heads, "divided"),
        )

    def _low_rank(self, hidden: int, name: str) -> list[Weight]:
        return [
            matrix(f"linear_attn.{name}_a_proj", self.low_rank, hidden, "replicated"),
            matrix(f"linear_attn.{name}_b_proj", self.value_heads * self.value_dim, self.low_rank),
        ]

    def memory(self, tp: int) -> State:
        """What a request keeps."""
        width = 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim
        recurrent = -(-self.value_heads // tp) * self.value_dim * self.key_dim
        return State(width // tp * (self.kernel - 1), recurrent, 4 if self.float32_state else 0)

    def refuses(self, tp: int) -> str:
        """Why TP ranks cannot share it; empty where they can."""
        for what, heads in (("key", self.key_heads), ("value", self.value_heads)):
            if heads % tp:
                return f"linear attention's {what} heads ({heads})"
        return ""


@dataclass(frozen=True, slots=True)
class Lightning:
    """MiniMax's linear attention: a state of head dimension squared, in four bytes.

    Attributes:
        heads: of queries, keys and values.
        head_dim: theirs.
    """

    heads: int
    head_dim: int

    def weights(self, hidden: int) -> tuple[Weight, ...]:
        """Its weights."""
        wide = self.heads * self.head_dim
        return (
            matrix("self_attn.qkv_proj", 3 * wide, hidden),
            matrix("self_attn.output_gate", wide, hidden),
            matrix("self_attn.out_proj", hidden, wide),
            vector("self_attn.norm", wide, "divided"),
        )

    def memory(self, tp: int) -> State:
        """What a request keeps."""
        return State(0, -(-self.heads // tp) * self.head_dim**2, 4)

    def refuses(self, tp: int) -> str:
        """Why TP ranks cannot share it; empty where they can."""
        return f"linear attention's heads ({self.heads})" if self.heads % tp else ""


@dataclass(frozen=True, slots=True)
class ShortConvolution:
    """LFM2's gated convolution.

    Attributes:
        width: channels.
        kernel: of the convolution.
        bias: of convolution and projections.
    """

    width: int
    kernel: int
    bias: bool = False

    def weights(self, hidden: int) -> tuple[Weight, ...]:
        """Its weights."""
        found = [
            matrix("conv.in_proj", 3 * self.width, hidden),
            Weight("conv.conv", self.width, self.kernel, "divided"),
            matrix("conv.out_proj", hidden, self.width),
        ]
        if self.bias:
            found += [
                vector("conv.in_proj.bias", 4 * self.width, "divided"),
                vector("conv.out_proj.bias", hidden),
            ]
        return tuple(found)

    def memory(self, tp: int) -> State:
        """What a request keeps."""
        return State(-(-self.width // tp) * (self.kernel - 1), 0)

    def refuses(self, tp: int) -> str:
        """Why TP ranks cannot share it; empty where they can."""
        return f"the convolution's width ({self.width})" if self.width % tp else ""


Recurrent = Mamba1 | Mamba2 | DeltaNet | Lightning | ShortConvolution

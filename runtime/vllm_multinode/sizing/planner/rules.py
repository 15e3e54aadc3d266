"""What vLLM rejects of a cut, each with the rule's name; nothing here is about memory."""

import math
from dataclasses import dataclass
from typing import Literal

from vllm_multinode.checkpoint.parallel import Indivisible, heads_refusal, kv_heads_refusal, layers_refusal
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.layers import Attention, Dense, Experts, LatentAttention
from vllm_multinode.sizing.model.quantization import Scheme
from vllm_multinode.sizing.model.weights import VOCABULARY_PADDING

RuleName = Literal[
    "heads", "kv-heads", "experts", "intermediate-size", "vocabulary", "layers", "pipeline", "recurrent",
    "quantized-block", "quantized-group",
]  # fmt: skip


# Seen in vLLM 0.32.0: it asks the embedding, which another stage has, to be tied to the head.
_TIED_WITHOUT_STAGES = frozenset({"ernie4_5_moe"})


_LEAST_BLOCK = 32


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a cut cannot be.

    Attributes:
        rule: its name, the same for every model.
        what: the sentence, with the numbers.
    """

    rule: RuleName
    what: str

    def __str__(self) -> str:
        """Rule and sentence."""
        return f"{self.rule}: {self.what}"


def refusals(model: Architecture, tp: int, pp: int) -> tuple[Refusal, ...]:
    """Every rule of vLLM that the cut breaks; empty where it can be made."""
    return (*tensor_refusals(model, tp), *pipeline_refusals(model, pp))


def pipeline_refusals(model: Architecture, pp: int) -> tuple[Refusal, ...]:
    """The rules about stages."""
    found = []
    if pp > 1 and model.pipeline is False:
        found.append(Refusal("pipeline", f"vLLM has no pipeline parallelism for {model.name}."))
    if pp > 1 and model.tied and model.model_type in _TIED_WITHOUT_STAGES:
        what = f"vLLM cannot tie embedding and head of a {model.model_type} across stages."
        found.append(Refusal("pipeline", what))
    found += _shared(layers_refusal(len(model.layers), pp))
    return tuple(found)


def tensor_refusals(model: Architecture, tp: int) -> tuple[Refusal, ...]:
    """The rules about TP ranks."""
    if tp <= 1:
        return ()
    # Layers repeat: each kind is checked once.
    mixers = dict.fromkeys(mixer for layer in model.layers for mixer in layer.mixers)
    blocks = dict.fromkeys(layer.mlp for layer in model.layers if layer.mlp is not None)
    found: list[Refusal] = []
    if model.heads:
        found += _shared(heads_refusal(model.heads, tp))
    for mixer in mixers:
        if isinstance(mixer, Attention):
            found += _shared(kv_heads_refusal(mixer.kv_heads, tp)) or _projections(model, mixer, tp)
        elif not isinstance(mixer, LatentAttention) and (why := mixer.refuses(tp)):
            found.append(Refusal("recurrent", f"{why} are not divisible by TP {tp}."))
    for block in blocks:
        found += _block(model, block, tp)
    padded = -(-model.vocabulary // VOCABULARY_PADDING) * VOCABULARY_PADDING
    if padded % tp:
        what = f"the vocabulary, padded from {model.vocabulary} to {padded}, is not divisible by TP {tp}."
        found.append(Refusal("vocabulary", what))
    return tuple(dict.fromkeys(found))


def _shared(refusal: Indivisible | None) -> list[Refusal]:
    """What the launcher's preflight rejects as well."""
    return [] if refusal is None else [Refusal(refusal.rule, refusal.what)]


def _projections(model: Architecture, mixer: Attention, tp: int) -> list[Refusal]:
    """What quantisation asks of a rank's part of the projections."""
    found = []
    for name, what, width, part in (
        (
            "k_proj",
            "the keys' width",
            mixer.kv_heads * mixer.head_dim,
            max(1, mixer.kv_heads // tp) * mixer.head_dim,
        ),
        (
            "o_proj",
            "the attention's width",
            mixer.heads * mixer.v_head_dim,
            mixer.heads * mixer.v_head_dim // tp,
        ),
    ):
        scheme = _last_scheme(model, f"self_attn.{name}")
        # MiMo's class cuts the blocks of its fused projection again for every rank.
        own_cut = name == "k_proj" and model.model_type.startswith("mimo_v2")
        if scheme is not None and not own_cut and (name == "o_proj" or scheme.form == "fp8-block"):
            found += _quantized(scheme, what, width, part, tp)
    return found


def _last_scheme(model: Architecture, name: str) -> Scheme | None:
    """How this linear layer is stored in the last layer, which is seldom an exception."""
    return model.quantization.scheme(f"model.layers.{len(model.layers) - 1}.{name}")


def _block(model: Architecture, block: Dense | Experts, tp: int) -> list[Refusal]:
    """A feed-forward block, and what quantisation asks of a rank's part of it."""
    if isinstance(block, Experts):
        widths = [("experts", "an expert's width", block.expert.intermediate, "mlp.experts.0.down_proj")]
        if block.shared:
            widths.append(
                (
                    "intermediate-size",
                    "the shared expert's width",
                    block.shared,
                    "mlp.shared_experts.down_proj",
                )
            )
    else:
        widths = [("intermediate-size", "the feed-forward width", block.intermediate, "mlp.down_proj")]
    found = []
    for rule, what, width, name in widths:
        if width % tp:
            kind: RuleName = "experts" if rule == "experts" else "intermediate-size"
            found.append(Refusal(kind, f"{what} {width} is not divisible by TP {tp}."))
            continue
        scheme = _last_scheme(model, name)
        if scheme and not (rule == "experts" and _refined(model, scheme, width // tp)):
            found += _quantized(scheme, what, width, width // tp, tp)
    return found


def _refined(model: Architecture, scheme: Scheme, part: int) -> bool:
    """Whether vLLM cuts an expert's FP8 blocks into smaller ones that fit, of at least 32."""
    if scheme.form != "fp8-block" or model.quantization.method == "compressed-tensors":
        return False
    return math.gcd(*scheme.block, part, model.hidden) >= _LEAST_BLOCK


def _quantized(scheme: Scheme, what: str, width: int, part: int, tp: int) -> list[Refusal]:
    """Whether a rank's part of a width consists of whole blocks or groups."""
    text = f"{what} {width} over TP {tp} leaves {part} per rank, not a multiple of the"
    if scheme.form == "fp8-block":
        broken = [side for side in scheme.block if part % side]
        return [Refusal("quantized-block", f"{text} FP8 block of {broken[0]}.")] if broken else []
    if scheme.bits < 8 and scheme.group > 0 and part % scheme.group:
        return [Refusal("quantized-group", f"{text} group of {scheme.group}.")]
    return []

"""How vLLM cuts a model: layers into stages, weights into ranks."""

from dataclasses import dataclass, replace

from vllm_multinode.checkpoint.stages import layer_split
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.quantization import Scheme
from vllm_multinode.sizing.model.stack import Layer
from vllm_multinode.sizing.model.traits import Everywhere, everywhere
from vllm_multinode.sizing.model.weights import Weight, share


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of some weights.

    Attributes:
        loaded: on the fullest TP rank.
        stored: in the checkpoint, all ranks together.
        active: of loaded, what one token makes use of.
        routed: of loaded, what belongs to experts that a router chooses.
    """

    loaded: float = 0.0
    stored: float = 0.0
    active: float = 0.0
    routed: float = 0.0

    def __add__(self, other: "Part") -> "Part":
        """Both together."""
        return Part(
            self.loaded + other.loaded, self.stored + other.stored, self.active + other.active,
            self.routed + other.routed,
        )  # fmt: skip

    def times(self, count: float) -> "Part":
        """So many of it."""
        return Part(self.loaded * count, self.stored * count, self.active * count, self.routed * count)


@dataclass(frozen=True)
class Cut:
    """A model's weights, cut for one tensor parallel size.

    Attributes:
        embedding: the table of the vocabulary.
        first: what else only the first stage has.
        last: what only the last stage has, the head apart.
        head: the output head; its checkpoint bytes are zero where it is tied.
        towers: on every stage.
        layers: one by one.
        drafts: layers of multi-token prediction; loaded for speculative decoding alone.
        everywhere: what every stage has.
    """

    embedding: Part
    first: Part
    last: Part
    head: Part
    towers: Part
    layers: tuple[Part, ...]
    drafts: Part
    everywhere: Everywhere

    @property
    def checkpoint(self) -> float:
        """Bytes of all weights in the files."""
        whole = sum((part.stored for part in self.layers), self.embedding.stored + self.head.stored)
        return whole + self.first.stored + self.last.stored + self.towers.stored + self.drafts.stored

    def with_drafts(self) -> "Cut":
        """With the layers of multi-token prediction loaded, behind the last layer."""
        return replace(self, last=self.last + replace(self.drafts, stored=0.0))

    def scaled(self, factor: float) -> "Cut":
        """Every part by the same factor."""
        parts = (self.embedding, self.first, self.last, self.head, self.towers, self.drafts)
        embedding, first, last, head, towers, drafts = (part.times(factor) for part in parts)
        layers = tuple(part.times(factor) for part in self.layers)
        return Cut(embedding, first, last, head, towers, layers, drafts, self.everywhere)

    def stages(self, pp: int) -> tuple[Part, ...]:
        """What each pipeline stage loads, on its fullest rank."""
        sizes = layer_split(len(self.layers), pp)
        parts, start = [], 0
        for stage, size in enumerate(sizes):
            part = sum(self.layers[start : start + size], self.towers)
            first, last = stage == 0, stage == pp - 1
            part = (
                part
                + (self.first if first or self.everywhere.first else Part())
                + (self.last if last else Part())
            )
            part = part + self._vocabulary(first=first, last=last)
            parts.append(part)
            start += size
        return tuple(parts)

    def _vocabulary(self, *, first: bool, last: bool) -> Part:
        """Embedding and head of a stage: where they are tied and meet, one table serves as both."""
        table, head = first or self.everywhere.table, last or self.everywhere.head
        used = Part(active=self.head.active) if last else Part()
        if not self.head.stored:
            return used + Part(loaded=self.embedding.loaded if table or head else 0.0)
        return used + Part(
            loaded=(self.embedding.loaded if table else 0.0) + (self.head.loaded if head else 0.0)
        )


def cut(model: Architecture, tp: int) -> Cut:
    """Cut a model for a tensor parallel size that its heads allow."""
    table = Weight("embed_tokens", model.vocabulary, model.hidden, "vocabulary")
    head = Weight("lm_head", model.vocabulary, model.hidden, "vocabulary", linear=True, stored=not model.tied)
    made: dict[tuple[int, tuple[Scheme | None, ...]], Part] = {}
    weights: dict[int, tuple[Weight, ...]] = {}
    layers = []
    for index, layer in enumerate(model.layers):
        key = id(layer)
        if key not in weights:
            weights[key] = layer_weights(layer, model.hidden)
        schemes = _schemes(model, weights[key], index)
        if (key, schemes) not in made:
            made[key, schemes] = _sum(model, weights[key], schemes, tp, layer)
        layers.append(made[key, schemes])
    drafts = Part()
    if model.drafts:
        width = model.hidden
        joined = (Weight("eh_proj", width, 2 * width), Weight("norms", 3 * width))
        # Checkpoints repeat embedding and head beside each such layer of the DeepSeek kind.
        copies = (table, head) if model.latent else ()
        stored = _plain(model, (*joined, *copies), tp).stored
        # The engine takes the model's own embedding and head.
        drafts = layers[-1] + replace(_plain(model, joined, tp), stored=stored)
        drafts = drafts.times(len(model.drafts))
    return Cut(
        embedding=_plain(model, (table,), tp),
        first=_plain(model, model.first, tp),
        last=_plain(model, model.last, tp),
        head=_plain(model, (head,), tp),
        towers=_towers(model, tp),
        layers=tuple(layers),
        drafts=drafts,
        everywhere=everywhere(model.model_type),
    )


def layer_weights(layer: Layer, hidden: int) -> tuple[Weight, ...]:
    """All weights of a layer."""
    found: list[Weight] = []
    for mixer in layer.mixers:
        found += mixer.weights(hidden)
    if layer.mlp is not None:
        found += layer.mlp.weights(hidden)
    return (*found, *layer.extra)


def parameters(model: Architecture) -> int:
    """Numbers in the weights, as publishers count them: without layers of multi-token prediction."""
    tables = model.hidden * model.vocabulary * (1 if model.tied else 2)
    counts: dict[int, int] = {}
    for layer in model.layers:
        if id(layer) not in counts:
            weights = layer_weights(layer, model.hidden)
            counts[id(layer)] = sum(weight.elements for weight in weights if weight.stored)
    others = (*model.first, *model.last, *model.towers)
    return tables + sum(counts[id(layer)] for layer in model.layers) + sum(one.elements for one in others)


def weight_bytes(weight: Weight, dtype_bytes: int, scheme: Scheme | None) -> float:
    """Bytes of a weight, all its copies together."""
    if scheme is None:
        return weight.elements * (weight.width or dtype_bytes)
    return scheme.matrix_bytes(weight.out, weight.into) * weight.copies


def _schemes(model: Architecture, weights: tuple[Weight, ...], index: int) -> tuple[Scheme | None, ...]:
    """How each weight of the layer with this number is stored."""
    if not model.quantization.schemes:
        return (None,) * len(weights)
    return tuple(
        model.quantization.scheme(f"model.layers.{index}.{weight.name}") if weight.linear else None
        for weight in weights
    )


def _plain(model: Architecture, weights: tuple[Weight, ...], tp: int) -> Part:
    schemes = tuple(model.quantization.scheme(weight.name) if weight.linear else None for weight in weights)
    return _sum(model, weights, schemes, tp, None)


def _towers(model: Architecture, tp: int) -> Part:
    """Towers stay as they are unless the quantisation says nothing of what it skips."""
    return _sum(model, model.towers, (None,) * len(model.towers), tp, None)


def _sum(
    model: Architecture,
    weights: tuple[Weight, ...],
    schemes: tuple[Scheme | None, ...],
    tp: int,
    layer: Layer | None,
) -> Part:
    experts = layer.experts if layer else None
    fraction = experts.active / experts.routed if experts else 1.0
    loaded = stored = active = routed = 0.0
    for weight, scheme in zip(weights, schemes, strict=True):
        whole = weight_bytes(weight, model.dtype_bytes, scheme)
        part = share(whole, weight.split, tp, weight.heads, weight.out) if weight.loaded else 0.0
        loaded += part
        stored += whole if weight.stored else 0.0
        active += part * (fraction if ".experts." in weight.name else 1.0)
        routed += part if ".experts." in weight.name else 0.0
    return Part(loaded, stored, active, routed)

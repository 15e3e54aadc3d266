"""A model or a GPU of the catalogue at a glance: a line of `multinode models` and `multinode gpus`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.model.sources import Source, find_model
from vllm_multinode.sizing.model.splits import parameters
from vllm_multinode.sizing.planner.choice import Choice
from vllm_multinode.sizing.planner.plan import choose
from vllm_multinode.sizing.planner.request import GPUS_PER_NODE, Gpu, Request, find_gpu

CONTEXT = 8192
"""Tokens of a request that deployments at a glance are planned for, or the model's limit where it is less."""


@dataclass(frozen=True)
class ModelLine:
    """A model at a glance.

    Attributes:
        name: its id at the hub.
        parameters: numbers in its weights, without layers of multi-token prediction.
        weight_bytes: of its files, published or counted.
        context: tokens that it was made for; 0 for unknown.
        deployments: the smallest of each GPU asked for; None where nothing holds it.
        unconfirmed: whether a figure of the entry is in doubt.
    """

    name: str
    parameters: int
    weight_bytes: int
    context: int
    deployments: tuple[Choice | None, ...]
    unconfirmed: bool

    def as_object(self, gpus: Sequence[Gpu]) -> dict[str, Any]:
        """In plain types."""
        return {
            "model": self.name,
            "parameters": self.parameters,
            "weight_bytes": self.weight_bytes,
            "context": self.context or None,
            "unconfirmed": self.unconfirmed,
            "deployments": {
                gpu.name: best and {
                    "nodes": best.nodes, "gpus_per_node": best.gpus_per_node,
                    "tensor_parallel": best.tensor_parallel, "pipeline_parallel": best.pipeline_parallel,
                    "verdict": best.verdict,
                }
                for gpu, best in zip(gpus, self.deployments, strict=True)
            },
        }  # fmt: skip


def shape_of(choice: Choice | None) -> str:
    """A deployment in a few letters: nodes x GPUs, TP and PP, and ~ where the estimate's error decides."""
    if choice is None:
        return "-"
    doubt = "~" if choice.verdict == "within-error" else ""
    stages = f" PP {choice.pipeline_parallel}" if choice.pipeline_parallel > 1 else ""
    return f"{choice.nodes}x{choice.gpus_per_node} TP {choice.tensor_parallel}{stages}{doubt}"


def model_lines(names: Sequence[str], gpus: Sequence[tuple[Gpu, int]], context: int) -> Iterator[ModelLine]:
    """The models, one after the other: each takes some hundredths of a second.

    Args:
        names: of the catalogue.
        gpus: for each deployment the GPU and how many a node has.
        context: tokens of a request; less where the model's own limit is.
    """
    for name in names:
        source = find_model(name)
        deployments = tuple(_smallest(source, gpu, each, context) for gpu, each in gpus)
        yield ModelLine(
            name,
            parameters(source.model),
            source.checkpoint_bytes,
            source.model.max_context,
            deployments,
            not catalogue.model(name).confirmed,
        )


def gpus_asked(names: Sequence[str]) -> list[tuple[Gpu, int]]:
    """The GPUs that deployments are wanted for, each with how many a node has.

    Raises:
        MultinodeError: USAGE, for an unknown name.
    """
    found = (find_gpu(name) for name in names)
    return [(gpu, in_shape or GPUS_PER_NODE) for gpu, in_shape, _ in found]


def _smallest(source: Source, gpu: Gpu, each: int, context: int) -> Choice | None:
    limit = source.model.max_context
    wanted = min(context, limit) if limit else context
    try:
        made = choose(Request(source=source, gpu=gpu, gpus_per_node=each, context=wanted))
    except MultinodeError:
        return None
    return made.best if made.fits else None

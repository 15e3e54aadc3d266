"""Facts for planning: accelerators, node shapes and models, each with its source."""

from vllm_multinode.sizing.catalogue.loader import (
    accelerator,
    find,
    hint,
    is_own,
    model,
    names,
    search,
    shape,
)
from vllm_multinode.sizing.catalogue.records import Accelerator, Kind, Model, Shape

__all__ = [
    "Accelerator", "Kind", "Model", "Shape", "accelerator", "find", "hint", "is_own", "model", "names",
    "search", "shape",
]  # fmt: skip

"""Facts for planning: accelerators, node shapes and models, each with its source."""

from vllm_multinode.sizing.catalogue.loader import accelerator, model, names, shape
from vllm_multinode.sizing.catalogue.records import Accelerator, Model, Shape

__all__ = ["Accelerator", "Model", "Shape", "accelerator", "model", "names", "shape"]

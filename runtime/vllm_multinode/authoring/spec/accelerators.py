"""What Kubernetes calls accelerators: the resource that pods request, and the label that names a product."""

from typing import Final, Literal

AcceleratorType = Literal["nvidia", "amd", "intel", "gaudi", "none"]

RESOURCES: Final[dict[AcceleratorType, str]] = {
    "nvidia": "nvidia.com/gpu",
    "amd": "amd.com/gpu",
    # Intel's device plugin names the driver: gpu.intel.com/xe with the newer one.
    "intel": "gpu.intel.com/i915",
    "gaudi": "habana.ai/gaudi",
    # A CPU engine asks for none; KServe writes a number of something all the same, and this every node has.
    "none": "cpu",
}
"""What each maker's device plugin offers."""

COUNTED: Final = frozenset({"nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu", "habana.ai/gaudi"})
"""What KServe counts nodes by. Every other resource but cpu, memory and storage it wants to be told of."""

RELEASED_WITH_RAY: Final = frozenset[AcceleratorType]({"nvidia"})
"""Whose vLLM has a released image with Ray in it."""

_PRODUCT_LABELS: Final[dict[AcceleratorType, str]] = {
    "nvidia": "nvidia.com/gpu.product",  # GPU feature discovery
    "amd": "amd.com/gpu.product-name",  # AMD's node labeller
}


def product_label(kind: AcceleratorType) -> str | None:
    """The label of a node that names its accelerators' product; None where a maker sets none."""
    return _PRODUCT_LABELS.get(kind)

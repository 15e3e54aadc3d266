"""The labels and annotations by which our own objects are known."""

from typing import Final

MANAGER: Final = "vllm-multinode"
"""Value of MANAGED_BY, and the name under which fields are applied."""
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
PART_OF: Final = "app.kubernetes.io/part-of"
"""On every object and pod of one deployment spec, with its name."""
COMPONENT: Final = "app.kubernetes.io/component"
"""On the pods: head or worker."""
DEPLOYMENTS: Final = "vllm-multinode/deployments"
"""Annotation: which deployments an object is part of, as namespace/name, joined by commas."""

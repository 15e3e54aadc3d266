"""Names and numbers that every rendered object agrees on, in one place."""

import importlib.metadata
from collections.abc import Mapping
from typing import Final

from vllm_multinode.contract.kserve import Role

MANAGER: Final = "vllm-multinode"
CONTAINERS: Final[Mapping[Role, str]] = {"head": "kserve-container", "worker": "worker-container"}
"""As KServe looks for them."""
MODEL_FORMAT: Final = "vLLM"

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
PART_OF: Final = "app.kubernetes.io/part-of"
"""On every object and pod of one deployment spec, with its name."""
COMPONENT: Final = "app.kubernetes.io/component"
"""On the pods: head or worker."""

EXECUTOR_ANNOTATION: Final = "multinode/executor-backend"
DEPLOYMENT_MODE: Final = "serving.kserve.io/deploymentMode"
AUTOSCALER_CLASS: Final = "serving.kserve.io/autoscalerClass"
GPU_RESOURCE_TYPES: Final = "serving.kserve.io/gpu-resource-types"
NETWORKS: Final = "k8s.v1.cni.cncf.io/networks"

GENERATION_LABEL: Final = "isvc.generation"
"""KServe's, on the pods of one generation."""

SOURCE_ANNOTATION: Final = "internal.serving.kserve.io/storage-initializer-sourceuri"
"""KServe's, on the pods of a service: its storageUri."""

SHARED_MEMORY: Final = "shm"
HOME: Final = "/home/multinode"
TOKEN_FOLDER: Final = "/run/secrets/multinode"  # noqa: S105 - a path

DEFAULT_STARTUP_SECONDS: Final = 3600
DEFAULT_DRAIN_SECONDS: Final = 20
PRE_STOP_SECONDS: Final = 5
"""What Services need to learn that a pod goes: nothing is refused meanwhile."""
TEARDOWN_SECONDS: Final = 15
"""What the launcher needs at most to end an engine."""


def default_image() -> str:
    """The image of this package's version; spec.image or kustomize says where it has been pushed to."""
    return f"vllm-multinode:{importlib.metadata.version('vllm-multinode')}"


def grace_period(drain: int = DEFAULT_DRAIN_SECONDS) -> int:
    """Seconds between a pod's deletion and SIGKILL."""
    return PRE_STOP_SECONDS + drain + TEARDOWN_SECONDS

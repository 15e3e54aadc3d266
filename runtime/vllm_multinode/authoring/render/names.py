"""Names and numbers that every rendered object agrees on, in one place."""

from collections.abc import Mapping
from typing import Final

from vllm_multinode.contract.kserve import Role
from vllm_multinode.platforms import names as kserve

CONTAINERS: Final[Mapping[Role, str]] = {"head": kserve.HEAD_CONTAINER, "worker": kserve.WORKER_CONTAINER}
"""As KServe looks for them."""
MODEL_FORMAT: Final = "vLLM"

ACCELERATOR: Final = "vllm-multinode/accelerator"
"""Annotation: whose accelerators; the components of kustomize reject a second maker by it."""
NETWORKS: Final = "k8s.v1.cni.cncf.io/networks"

SHARED_MEMORY: Final = "shm"
HOME: Final = "/home/multinode"
TOKEN_VOLUME: Final = "token"  # noqa: S105 - a volume
TOKEN_FOLDER: Final = "/run/secrets/multinode"  # noqa: S105 - a path

CERTIFICATE_VOLUME: Final = "serving-cert"
CERTIFICATE_FOLDER: Final = "/run/secrets/serving-cert"

DEFAULT_STARTUP_SECONDS: Final = 3600
DEFAULT_DRAIN_SECONDS: Final = 20
PRE_STOP_SECONDS: Final = 5
"""What Services need to learn that a pod goes: nothing is rejected meanwhile."""
TEARDOWN_SECONDS: Final = 15
"""What the launcher needs at most to end an engine."""


LAUNCHER: Final = "launcher"
LAUNCHER_FOLDER: Final = "/opt/multinode"
"""Where the ConfigMap with the zip application is mounted."""

USER: Final = 2000
"""The user `vllm` of vLLM's images, for clusters that choose no user themselves; any other would do."""


def grace_period(drain: int = DEFAULT_DRAIN_SECONDS) -> int:
    """Seconds between a pod's deletion and SIGKILL."""
    return PRE_STOP_SECONDS + drain + TEARDOWN_SECONDS

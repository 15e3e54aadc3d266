"""What a user means by a deployment, typed; YAML and JSON in, a JSON Schema out."""

from vllm_multinode.authoring.spec.deployment import DeploymentSpec
from vllm_multinode.authoring.spec.file import load, loads
from vllm_multinode.authoring.spec.network import Network, Rdma
from vllm_multinode.authoring.spec.parts import (
    Accelerator,
    Claim,
    EnvSource,
    Model,
    NodePool,
    Parallelism,
    Placement,
    Resources,
    RolePlacement,
    Runtime,
    SecretKey,
    SpreadConstraint,
    Toleration,
)

__all__ = [
    "Accelerator",
    "Claim",
    "DeploymentSpec",
    "EnvSource",
    "Model",
    "Network",
    "NodePool",
    "Parallelism",
    "Placement",
    "Rdma",
    "Resources",
    "RolePlacement",
    "Runtime",
    "SecretKey",
    "SpreadConstraint",
    "Toleration",
    "load",
    "loads",
]

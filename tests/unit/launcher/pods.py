"""What the launcher's tests share: pods as they are told and as they present themselves."""

from pathlib import Path
from typing import Any

from vllm_multinode.contract.kserve import Role
from vllm_multinode.launcher.messages import Identity, Versions
from vllm_multinode.launcher.plan import GroupPlan, Node
from vllm_multinode.launcher.settings import Ports, Settings, Sizes, read_settings

HEAD_ENVIRONMENT = {
    "TENSOR_PARALLEL_SIZE": "1",
    "PIPELINE_PARALLEL_SIZE": "2",
    "RAY_NODE_COUNT": "2",
    "REQUEST_GPU_COUNT": "1",
    "MODEL_NAME": "llm",
    "MODEL_DIR": "/mnt/models",
    "POD_NAME": "head",
    "POD_NAMESPACE": "ns",
}
"""Of a head under KServe v0.15.2."""

WORKER_ENVIRONMENT = {
    "RAY_NODE_COUNT": "2",
    "REQUEST_GPU_COUNT": "1",
    "ISVC_NAME": "llm",
    "HEAD_SVC": "llm-head-3",
    "POD_NAME": "worker",
    "POD_NAMESPACE": "ns",
}
"""Of a worker before v0.18, which is told no sizes."""

VERSIONS = Versions(vllm="0.32.0", ray="2.60.0", python="3.12.3", multinode="0.1.0")
PORTS = Ports(api=8080, supervisor=8081, master=29500, ray=6379, ray_workers=(20000, 20999))


def settings_of(role: Role, *arguments: str, **changes: str | None) -> Settings:
    """Settings from the role's environment with some variables changed, or left out where None."""
    base: dict[str, str | None] = {**(HEAD_ENVIRONMENT if role == "head" else WORKER_ENVIRONMENT), **changes}
    environment = {name: value for name, value in base.items() if value is not None}
    return read_settings(role, environment, arguments, "hostname")


def identity(pod: str = "head", **changes: Any) -> Identity:
    """A member with one CUDA device and the shared model."""
    told: dict[str, Any] = {
        "pod": pod,
        "address": "10.0.0.1",
        "accelerator": "cuda",
        "gpus": 1,
        "versions": VERSIONS,
        "model_dir": "/mnt/models",
        "fingerprint": "f" * 64,
    }
    return Identity(**{**told, **changes})


def plan(**changes: Any) -> GroupPlan:
    """Two CUDA nodes, one pipeline stage each, under mp."""
    told: dict[str, Any] = {
        "executor": "mp",
        "sizes": Sizes(tensor_parallel=1, pipeline_parallel=2, nodes=2),
        "accelerator": "cuda",
        "model_dir": Path("/mnt/models"),
        "model_name": "llm",
        "head_address": "10.0.0.1",
        "ports": PORTS,
        "arguments": (),
    }
    return GroupPlan(**{**told, **changes})


def node(rank: int, **changes: Any) -> Node:
    """The node of that rank, at 10.0.0.<rank + 1>."""
    told: dict[str, Any] = {
        "rank": rank,
        "address": f"10.0.0.{rank + 1}",
        "interface": "eth0",
        "gpus": 1,
        "vllm": "0.32.0",
        "scratch": Path("/tmp"),
    }
    return Node(**{**told, **changes})

"""What the head tells every node, and what a node makes of it."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.settings import Ports, Sizes
from vllm_multinode.launcher.text import Line

AcceleratorKind = Literal["cuda", "rocm", "xpu", "gaudi", "cpu"]


class GroupPlan(Frozen):
    """The engine of one epoch: the same for every node."""

    executor: ExecutorName
    sizes: Sizes
    accelerator: AcceleratorKind
    model_dir: Path
    model_name: str | None
    head_address: str
    ports: Ports
    members: tuple[Line, ...] = Field(default=(), description="addresses of all nodes, for no proxy to catch")
    ip6: bool = Field(default=False, description="the head has an IPv6 address, among others or alone")
    arguments: tuple[str, ...] = Field(
        description="vLLM's own: on the head as it was given them, on a worker those that it needs"
    )


class Node(Frozen):
    """One member's place in the plan."""

    rank: int = Field(ge=0, description="0 is the head")
    address: str
    interface: str | None = Field(description="network interface that holds the address")
    gpus: int
    vllm: str = Field(description="version of vLLM")
    arguments: tuple[str, ...] = Field(default=(), description="vLLM's, as this worker was given them")
    token_file: Path | None = None
    scratch: Path = Field(description="writable directory of this node")
    cpu_fork: bool = True
    door: Path | None = Field(default=None, description="page that opens and closes the head's API")


class Listener(Frozen):
    """A TCP port that must accept before a process is started."""

    host: str
    port: int


class Process(Frozen):
    """One process of the engine on one node."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str] = Field(default_factory=dict, description="over the pod's own")
    defaults: dict[str, str] = Field(default_factory=dict, description="where the pod's own says nothing")
    after: tuple[Listener, ...] = ()

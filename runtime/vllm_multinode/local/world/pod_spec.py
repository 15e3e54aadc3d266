"""What a pod is made of: all that a local node needs to know to run it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from vllm_multinode.contract import ports
from vllm_multinode.contract.frozen import Frozen

Role = Literal["head", "worker"]
Restart = Literal["always", "never"]
PodField = Literal["status.podIP", "metadata.name"]

NodeName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class HostMount(Frozen):
    """A directory or file of this machine that the pod sees at `target`."""

    source: Path
    target: Path
    read_only: bool = True


class PodSpec(Frozen):
    """One pod: a container, and the names and volumes around it.

    `node` is what commands call it and outlives a replacement; the pod's own name is `generate_name` and a
    suffix, and changes with it, as does the address.
    """

    node: NodeName
    role: Role
    generate_name: str
    argv: tuple[str, ...] = Field(min_length=1)
    env: dict[str, str] = Field(default={})
    fields: dict[str, PodField] = Field(default={})
    """Variables that the downward API fills in: name to field."""
    mounts: tuple[HostMount, ...] = ()
    services: tuple[str, ...] = ()
    """Names of the headless Services in front of it: what they resolve to on every node."""
    shared_memory: int = Field(default=1 << 30, gt=0)
    """Bytes of /dev/shm."""
    cpus: tuple[int, ...] = ()
    """Cores that it may use; all where empty."""
    sysctls: dict[str, str] = Field(default={})
    """Of its network namespace, such as net.ipv4.ip_local_port_range."""
    restart: Restart = "always"
    grace: float = Field(default=60.0, ge=0)
    """Seconds between SIGTERM and SIGKILL."""
    status_port: int = Field(default=ports.SUPERVISOR, gt=0, lt=65536)
    """Where its supervisor answers GET /status."""

    def environment(self, name: str, address: str) -> dict[str, str]:
        """Every variable of the container, and no other."""
        values: dict[PodField, str] = {"status.podIP": address, "metadata.name": name}
        return {**self.env, **{variable: values[field] for variable, field in self.fields.items()}}

"""The group's network: ports, who may reach them, and RDMA."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from vllm_multinode.authoring.spec.base import Count, Key, Object, Part, Text


class Rdma(Part):
    """Remote memory access between the nodes."""

    resource: Key = Field(description="Resource of the device plugin, such as rdma/hca_shared_devices_a.")
    count: Count = Field(default=1, description="Number per pod.")
    ipc_lock: bool = Field(
        default=False,
        description=(
            "Add the capability IPC_LOCK. OpenShift's restricted-v2 forbids it; leave it out if the "
            "container runtime's memlock limit is raised instead."
        ),
    )
    env: Mapping[str, Text] = Field(
        default_factory=dict, description="Variables of NCCL and UCX, such as NCCL_IB_HCA: mlx5."
    )


def _peer(value: object) -> object:
    return {"ipBlock": {"cidr": value}} if isinstance(value, str) else value


def _is_peer(value: Object) -> Object:
    known = {"ipBlock", "namespaceSelector", "podSelector"}
    if not value or not value.keys() <= known or ("ipBlock" in value and len(value) > 1):
        raise ValueError("a peer has an ipBlock, or a namespaceSelector, a podSelector or both")
    cidr = value.get("ipBlock", {"cidr": "::/0"}).get("cidr")
    try:
        ip_network(str(cidr))
    except ValueError as error:
        raise ValueError(f"'{cidr}' is not a range of addresses, such as 10.0.0.0/8 or fd00::/8") from error
    return value


Peer = Annotated[
    Object,
    BeforeValidator(_peer, json_schema_input_type=str | Object),
    AfterValidator(_is_peer),
]
"""Who may reach a port: a range of addresses, or a peer of a NetworkPolicy."""


class Network(Part):
    """The group's network."""

    port_range: tuple[int, int] | None = Field(
        default=None,
        description="First and last of the ports that torch, gloo and ZeroMQ pick from, by the sysctl "
        "net.ipv4.ip_local_port_range.",
    )
    policy: bool = Field(
        default=True,
        description=(
            "Write a NetworkPolicy: clients can reach the API, and only the group can reach its other ports."
        ),
    )
    clients_from: tuple[Peer, ...] = Field(
        default=(),
        description="Who may reach the API: ranges of addresses such as 10.0.0.0/8, or peers of a "
        "NetworkPolicy; everyone if empty. Include a router or gateway in front.",
    )
    status_from: tuple[Peer, ...] = Field(
        default=(),
        description="Who may reach the supervisor's port besides members and monitoring, such as the "
        "addresses of the API server, through which `multinode wait` asks.",
    )
    egress_to: tuple[Peer, ...] = Field(
        default=(),
        description="What the pods may reach besides each other and the resolver, such as a collector of "
        "traces, a store for KV blocks or servers of tools.",
    )
    attachments: tuple[str, ...] = Field(
        default=(), description="Additional networks of the pods, as NetworkAttachmentDefinitions (Multus)."
    )
    rdma: Rdma | None = Field(default=None, description="RDMA devices; without it NCCL uses TCP.")

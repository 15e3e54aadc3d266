"""The pods' network: a bridge in the world's network namespace, and a veth pair for each pod."""

import fcntl
import ipaddress
import os
import socket
import struct
from pathlib import Path
from typing import Final

from pyroute2 import AsyncIPRoute

from vllm_multinode.local.world import syscalls
from vllm_multinode.local.world.protocol import Families
from vllm_multinode.local.world.syscalls import Namespace

IPv4: Final = ipaddress.IPv4Network("10.77.0.0/16")
IPv6: Final = ipaddress.IPv6Network("fd00:77::/112")
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
SUBNETS: Final[dict[Families, tuple[Subnet, ...]]] = {
    "ipv4": (IPv4,),
    "ipv6": (IPv6,),
    "dual-stack": (IPv4, IPv6),
    "crossed": (IPv4, IPv6),
}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_BRIDGE: Final = "pods"
_POD_INTERFACE: Final = "eth0"
# ioctl(2) numbers and flags of linux/sockios.h, net/if.h, net/route.h and linux/ipv6_route.h.
_SIOCADDRT: Final = 0x890B
_SIOCSIFFLAGS: Final = 0x8914
_SIOCSIFADDR: Final = 0x8916
_SIOCSIFNETMASK: Final = 0x891C
_UP: Final = 0x1
_ROUTE_UP_GATEWAY: Final = 0x3


class PodNetwork:
    """A pod's network namespace and its link; both outlive a restart of its container.

    Args:
        addresses: of the pod, the first of which is its own in `status.podIP`.
        number: of each address in its subnet.
        namespace: open descriptor.
    """

    def __init__(self, addresses: tuple[Address, ...], number: int, namespace: int) -> None:
        self.addresses = addresses
        self.namespace = namespace
        self.number = number
        self.link = f"pod{number}"
        self.cut = False


class Network:
    """Makes, cuts, joins and removes pods' links; only for the process whose network namespace this is.

    Args:
        subnets: that pods get their addresses from, one of each; they have no others but on lo.
    """

    def __init__(self, subnets: tuple[Subnet, ...] = (IPv4,)) -> None:
        self._subnets = subnets
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._next = 2
        self._taken: set[int] = set()

    async def make_bridge(self) -> None:
        """Make the bridge that the pods are plugged into.

        Raises:
            pyroute2.NetlinkError: the kernel has no bridges.
        """
        _up("lo")
        # A pod has a default route, as in a cluster; what leaves the subnet is rejected at once, not dropped.
        _set_sysctl("net.ipv4.ip_forward", "1")
        if any(subnet.version == 6 for subnet in self._subnets):
            _set_sysctl("net.ipv6.conf.all.disable_ipv6", "0")
            _set_sysctl("net.ipv6.conf.all.forwarding", "1")
            _set_sysctl("net.ipv6.conf.default.accept_dad", "0")
        async with AsyncIPRoute() as netlink:
            await netlink.link("add", ifname=_BRIDGE, kind="bridge", state="up")
            index = (await netlink.link_lookup(ifname=_BRIDGE))[0]
            for subnet in self._subnets:
                await netlink.addr("add", index=index, address=str(subnet[1]), prefixlen=subnet.prefixlen)

    async def add(self, sysctls: dict[str, str]) -> PodNetwork:
        """A new namespace with lo, eth0, the next address and a default route.

        Args:
            sysctls: settings of the namespace, by dotted name.

        Raises:
            OSError: a setting does not exist or is not one of a network namespace.
        """
        number = self._number()
        addresses = tuple(subnet[number] for subnet in self._subnets)
        pod = PodNetwork(addresses, number, self._new_namespace())
        try:
            await self._plug(pod, sysctls)
        except BaseException:
            await self.remove(pod)
            raise
        return pod

    async def _plug(self, pod: PodNetwork, sysctls: dict[str, str]) -> None:
        peer = {"ifname": _POD_INTERFACE, "net_ns_fd": pod.namespace}
        async with AsyncIPRoute() as netlink:
            bridge = (await netlink.link_lookup(ifname=_BRIDGE))[0]
            await netlink.link("add", ifname=pod.link, kind="veth", peer=peer, master=bridge, state="up")
        with syscalls.inside(pod.namespace, self._home, Namespace.NET):
            _up("lo")
            for address, subnet in zip(pod.addresses, self._subnets, strict=True):
                _configure(_POD_INTERFACE, address, subnet)
            for name, value in sysctls.items():
                _set_sysctl(name, value)

    async def cut(self, pod: PodNetwork) -> None:
        """Take the pod's link down: nothing arrives any more, and nobody is told."""
        await self._set(pod, "down")
        pod.cut = True

    async def join(self, pod: PodNetwork) -> None:
        """Take the pod's link up again."""
        await self._set(pod, "up")
        pod.cut = False

    async def remove(self, pod: PodNetwork) -> None:
        """Remove the link and let go of the namespace; its address is free again, later."""
        async with AsyncIPRoute() as netlink:
            for index in await netlink.link_lookup(ifname=pod.link):
                await netlink.link("del", index=index)
        os.close(pod.namespace)
        self._taken.discard(pod.number)

    async def _set(self, pod: PodNetwork, state: str) -> None:
        async with AsyncIPRoute() as netlink:
            for index in await netlink.link_lookup(ifname=pod.link):
                await netlink.link("set", index=index, state=state)

    def _new_namespace(self) -> int:
        syscalls.unshare(Namespace.NET)
        try:
            return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            syscalls.enter(self._home, Namespace.NET)

    def _number(self) -> int:
        """The next address's, so that a replacement never has the address of what it replaces."""
        last = min(subnet.num_addresses for subnet in self._subnets) - 1
        while True:
            found = self._next
            self._next = 2 if self._next + 1 >= last else self._next + 1
            if found not in self._taken:
                self._taken.add(found)
                return found


def _set_sysctl(name: str, value: str) -> None:
    Path("/proc/sys", *name.split(".")).write_text(value)


def _up(interface: str) -> None:
    _ask(_SIOCSIFFLAGS, struct.pack("16sH22x", interface.encode(), _UP))


def _configure(interface: str, address: Address, subnet: Subnet) -> None:
    """Give an interface its address, take it up, and make the subnet's first address the default route."""
    if isinstance(address, ipaddress.IPv6Address):
        _configure_ipv6(interface, address, subnet)
        return
    name = interface.encode()
    _ask(_SIOCSIFADDR, struct.pack("16s16s8x", name, _socket_address(address)))
    _ask(
        _SIOCSIFNETMASK,
        struct.pack("16s16s8x", name, _socket_address(ipaddress.IPv4Address(int(subnet.netmask)))),
    )
    _up(interface)
    nowhere = _socket_address(ipaddress.IPv4Address(0))
    gateway = _socket_address(ipaddress.IPv4Address(int(subnet[1])))
    # struct rtentry: destination, gateway and mask, then flags; the rest is zero.
    rest = (0,) * 8
    route = struct.pack("@L16s16s16sHhLPhPLLH", 0, nowhere, gateway, nowhere, _ROUTE_UP_GATEWAY, *rest)
    _ask(_SIOCADDRT, route)


def _configure_ipv6(interface: str, address: ipaddress.IPv6Address, subnet: Subnet) -> None:
    _set_sysctl("net.ipv6.conf.all.disable_ipv6", "0")
    # An address is used at once: nobody else has it, and a pod's first connections would wait a second.
    _set_sysctl(f"net.ipv6.conf.{interface}.accept_dad", "0")
    _up(interface)
    index = socket.if_nametoindex(interface)
    # struct in6_ifreq: address, length of its prefix, interface.
    _ask(_SIOCSIFADDR, struct.pack("@16sIi", address.packed, subnet.prefixlen, index), socket.AF_INET6)
    # struct in6_rtmsg: destination, source, gateway, type, two lengths, metric, info, flags, interface.
    route = struct.pack(
        "@16s16s16sIHHILIi", bytes(16), bytes(16), subnet[1].packed, 0, 0, 0, 1, 0, _ROUTE_UP_GATEWAY, index
    )
    _ask(_SIOCADDRT, route, socket.AF_INET6)


def _socket_address(address: ipaddress.IPv4Address) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, 0, address.packed)


def _ask(request: int, argument: bytes, family: socket.AddressFamily = socket.AF_INET) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as asker:
        fcntl.ioctl(asker, request, argument)

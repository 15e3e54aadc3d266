"""Addresses, interfaces and ports of this node: the one place that writes addresses and opens sockets."""

import contextlib
import errno
import ipaddress
import itertools
import logging
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.text import printable

log = logging.getLogger(__name__)

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# rtnetlink(7): the request for all addresses, and the attributes that carry them.
_RTM_GETADDR: Final = 22
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_SCOPE_LINK: Final = 253
_LAST_PORT: Final = 65535
_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")

# Documentation addresses (RFC 5737, RFC 3849): connecting a datagram socket to one sends nothing.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def bracketed(host: str) -> str:
    """A host as it stands in front of a port or in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def host_port(host: str, port: int) -> str:
    """`10.0.0.1:80`, `[fd00::1]:80`."""
    return f"{bracketed(host)}:{port}"


@dataclass(frozen=True)
class Assigned:
    """One address of this node."""

    address: IPAddress
    interface: str
    link_local: bool


def assigned() -> list[Assigned]:
    """Every address of this node's network namespace; nothing where the kernel does not tell."""
    with contextlib.suppress(OSError, struct.error):
        return list(_parsed(_dump()))
    return []


def _dump() -> bytes:
    """The kernel's answer to RTM_GETADDR, without its end."""
    request = struct.pack("=LHHLLBBBBL", 24, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0, 0, 0, 0, 0, 0)
    answer = b""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asker:
        asker.settimeout(2)
        asker.send(request)
        while True:
            part = asker.recv(1 << 16)
            answer += part
            kinds = [kind for kind, _ in _messages(part)]
            if not kinds or kinds[-1] in (_NLMSG_DONE, _NLMSG_ERROR):
                return answer


def _messages(data: bytes) -> Iterable[tuple[int, bytes]]:
    """Type and payload of each netlink message."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=LH", data)
        if length < 16:
            return
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


def _parsed(answer: bytes) -> Iterable[Assigned]:
    names = dict(socket.if_nameindex())
    for kind, payload in _messages(answer):
        if kind in (_NLMSG_DONE, _NLMSG_ERROR):
            continue
        _, _, _, scope, index = struct.unpack_from("=BBBBL", payload)
        attributes = _attributes(payload[8:])
        raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
        if raw is not None and index in names:
            yield Assigned(ipaddress.ip_address(raw), names[index], scope == _SCOPE_LINK)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def pod_address(variable: str, value: str) -> IPAddress:
    """Read one address that peers can connect to.

    Args:
        variable: that carries it, for the message.
        value: as it was set.

    Raises:
        MultinodeError: VARIABLE: it is no address, or stands for several (0.0.0.0, a multicast group).
    """
    try:
        address = ipaddress.ip_address(value)
    except ValueError as error:
        raise MultinodeError(
            ExitCode.VARIABLE,
            f"'{printable(value, 100)}' is not an IP address.",
            where=variable,
            hint="Take it from status.podIP by the downward API, or leave it out.",
        ) from error
    if address.is_unspecified or address.is_multicast:
        raise not_own(variable, value)
    return address


def own_address(pod_ip: str | None) -> str:
    """The address that peers reach this node by: POD_IP, else that of a default route, else loopback."""
    if pod_ip is not None:
        return pod_ip
    for family, elsewhere in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    return "127.0.0.1"


def interface_of(address: str) -> str | None:
    """The network interface that holds an address, or None."""
    with contextlib.suppress(ValueError):
        wanted = ipaddress.ip_address(address)
        return next((one.interface for one in assigned() if one.address == wanted), None)
    return None


def listen_addresses(address: str) -> list[str]:
    """Where a supervisor listens: on this pod's own addresses, and on loopback for what runs inside the pod.

    A pod in a dual-stack cluster has an address of each family on one interface, and a Service may lead to
    either. Other interfaces (a second network for RDMA) are left alone.

    Args:
        address: that peers reach this node by.
    """
    if ipaddress.ip_address(address).is_loopback:
        return [address]
    known = assigned()
    loopback = [str(one.address) for one in known if one.address.is_loopback]
    interface = interface_of(address)
    same = [str(one.address) for one in known if one.interface == interface and not one.link_local]
    own = same if interface is not None else []
    return list(dict.fromkeys([address, *own, *(loopback or ["127.0.0.1"])]))


def has_ipv6(address: str) -> bool:
    """Can this pod be reached by IPv6, by this address or by another one of the same interface?"""
    return any(":" in one for one in listen_addresses(address) if one != "::1")


def open_listener(address: str, port: int, backlog: int) -> socket.socket:
    """A listening TCP socket on one address.

    Raises:
        OSError: it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _families() -> tuple[socket.AddressFamily, ...]:
    has_ipv6 = any(one.address.version == 6 for one in assigned())
    return (socket.AF_INET, socket.AF_INET6) if has_ipv6 else (socket.AF_INET,)


def check_ports_apart(ports: Mapping[str, Sequence[int]]) -> None:
    """Refuse ports that two variables give away, and those beyond the last one.

    Args:
        ports: ports by the variable that sets them, the supervisor's included.

    Raises:
        MultinodeError: VARIABLE, names the variable, the port and who has it.
    """
    holders: dict[int, str] = {}
    for variable, numbers in ports.items():
        for port in numbers:
            other = holders.setdefault(port, variable)
            if other != variable:
                what = f"port {port} belongs to {other} already."
            elif port > _LAST_PORT:
                what = f"{numbers[0]} leaves no room for its {len(numbers)} ports: the last is {_LAST_PORT}."
            else:
                continue
            hint = f"Set {variable} to another port on every node."
            raise MultinodeError(ExitCode.VARIABLE, what, where=variable, hint=hint)


def check_ports_free(ports: Mapping[str, Iterable[int]]) -> None:
    """Bind each port once, on every address of both families.

    Args:
        ports: ports by the variable that sets them.

    Raises:
        MultinodeError: names the first port that is taken and its variable.
    """
    for variable, numbers in ports.items():
        for port, family in itertools.product(numbers, _families()):
            error = _bind_once(port, family)
            if error is not None:
                raise cannot_listen(variable, "0.0.0.0" if family == socket.AF_INET else "::", port, error)


def warn_of_random_ports(ports: Mapping[str, Iterable[int]], settings: Path = _PORT_RANGE) -> None:
    """Say which ports lie where the kernel takes ports for connections and for listeners that ask for any.

    Args:
        ports: ports by the variable that sets them.
        settings: the kernel's file with the first and the last of its range.
    """
    try:
        first, last = map(int, settings.read_text().split())
    except (OSError, ValueError):
        return
    for variable, numbers in ports.items():
        if inside := [port for port in numbers if first <= port <= last]:
            log.warning(
                "%s: port %d is in the kernel's range of ephemeral ports, %d to %d (net.ipv4."
                "ip_local_port_range): another process may take it first",
                variable,
                inside[0],
                first,
                last,
            )


def check_range_free(variable: str, bounds: tuple[int, int], wanted: int) -> None:
    """Are enough ports of a range free, for a program that passes over those that are taken?

    Args:
        variable: that sets the range.
        bounds: the first and the last port.
        wanted: how many.

    Raises:
        MultinodeError: too few are.
    """
    first, last = bounds
    families = _families()
    free = (port for port in range(first, last + 1) if not any(_bind_once(port, one) for one in families))
    if len(list(itertools.islice(free, wanted))) < wanted:
        raise MultinodeError(
            ExitCode.PORT_TAKEN,
            f"fewer than {wanted} ports from {first} to {last} are free on this node.",
            where=variable,
            hint="Stop what uses them, or choose another, wider range on every node.",
        )


def _bind_once(port: int, family: socket.AddressFamily) -> OSError | None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            return error
    return None


def cannot_listen(variable: str, address: str, port: int, error: OSError) -> MultinodeError:
    """What to say of a listener that could not be opened."""
    if error.errno == errno.EADDRINUSE:
        return port_taken(variable, port)
    if error.errno == errno.EADDRNOTAVAIL:
        return not_own(env.POD_IP, address)
    return MultinodeError(
        ExitCode.PORT_TAKEN,
        f"{host_port(address, port)} cannot be opened: {error.strerror}.",
        where=variable,
    )


def not_own(variable: str, address: str) -> MultinodeError:
    """What to say of an address that this node does not have."""
    own = ", ".join(str(one.address) for one in assigned() if not one.link_local) or "unknown ones"
    return MultinodeError(
        ExitCode.VARIABLE,
        f"{printable(address, 100)} is not an address of this pod, which has {own}.",
        where=variable,
        hint=f"Set {variable} from status.podIP by the downward API, or leave it out.",
    )


def port_taken(variable: str, port: int) -> MultinodeError:
    """What to say of a taken port."""
    return MultinodeError(
        ExitCode.PORT_TAKEN,
        f"port {port} is taken by another process of this node.",
        where=variable,
        hint=f"Stop that process, or set {variable} to a free port on every node.",
    )

"""Addresses, interfaces and ports of this node; standard library only."""

import array
import errno
import fcntl
import socket
import struct
from collections.abc import Mapping

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

_SIOCGIFADDR = 0x8915


def own_address(pod_ip: str | None) -> str:
    """The address that peers reach this node by: POD_IP, else that of the default route, else loopback."""
    if pod_ip is not None:
        return pod_ip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only chooses the route.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def interface_of(address: str) -> str | None:
    """The network interface that holds an IPv4 address, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = array.array("B", struct.pack("256s", name.encode()[:15]))
            try:
                fcntl.ioctl(probe, _SIOCGIFADDR, request)
            except OSError:
                continue
            if socket.inet_ntoa(request.tobytes()[20:24]) == address:
                return name
    return None


def check_ports_free(ports: Mapping[str, int]) -> None:
    """Bind each port once.

    Args:
        ports: port by the variable that sets it.

    Raises:
        MultinodeError: names the first port that is taken and its variable.
    """
    for variable, port in ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise port_taken(variable, port) from error
                raise MultinodeError(
                    ExitCode.PORT_TAKEN, f"port {port} cannot be opened: {error.strerror}.", where=variable
                ) from error


def port_taken(variable: str, port: int) -> MultinodeError:
    """What to say of a taken port."""
    return MultinodeError(
        ExitCode.PORT_TAKEN,
        f"port {port} is taken by another process of this node.",
        where=variable,
        hint=f"Stop that process, or set {variable} to a free port on every node.",
    )


def engine_ports(ports_by_variable: Mapping[str, int], *, ray: bool) -> dict[str, int]:
    """The ports that the engine will open on the head."""
    wanted = {env.PORT, env.RAY_PORT if ray else env.MASTER_PORT}
    return {variable: port for variable, port in ports_by_variable.items() if variable in wanted}

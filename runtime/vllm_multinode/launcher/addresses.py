"""What a pod's environment says of addresses, interfaces and proxies, held to what the pod really has.

What can be corrected without a doubt is, with a word in the log; the rest is rejected by name.
"""

import ipaddress
import logging
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.arguments import last_value
from vllm_multinode.launcher.network import assigned, not_own, pod_address

log = logging.getLogger(__name__)

VLLM_HOST_IP: Final = "VLLM_HOST_IP"
RAY_ADDRESS: Final = "RAY_ADDRESS"
_ADDRESSES: Final = (env.POD_IP, VLLM_HOST_IP)
_INTERFACES: Final = "_SOCKET_IFNAME"
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_NO_PROXY: Final = ("no_proxy", "NO_PROXY")
_EVERYWHERE: Final = ("", "0.0.0.0", "::")
# What Kubernetes injects for a Service, by the Service's name in capitals.
_LINK: Final = re.compile(
    r"(?P<service>[A-Z][A-Z0-9_]*?)_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://")
_READ_BY_PREFIX: Final = ("VLLM", "RAY", "MULTINODE", "NCCL", "GLOO")
"""Programs that take every variable of such a name for one of their own."""


def service_links(environment: Mapping[str, str]) -> frozenset[str]:
    """Variables of Services that are named like a program: VLLM_PORT=tcp://… of a Service named vllm.

    One that the pod's own specification sets stays, because its value is none that Kubernetes would inject.
    """
    services = {
        found["service"]
        for name, value in environment.items()
        if _LINK_VALUE.match(value) and (found := _LINK.fullmatch(name)) and found["service"]
    }
    return frozenset(
        name
        for name, value in environment.items()
        if name.startswith(_READ_BY_PREFIX)
        and (found := _LINK.fullmatch(name))
        and (
            _LINK_VALUE.match(value) or (found["service"] in services and name != f"{found['service']}_PORT")
        )
    )


def check_addresses(environment: Mapping[str, str]) -> None:
    """Hold addresses and interfaces to those of this pod.

    Raises:
        MultinodeError: VARIABLE, with the variable and what the pod has.
    """
    own = {one.address for one in assigned()}
    for variable in _ADDRESSES:
        value = environment.get(variable, "").strip()
        if not value:
            continue
        address = pod_address(variable, value)
        # All of 127.0.0.0/8 is this pod's. Where the kernel does not tell, a listener will.
        if own and address not in own and not address.is_loopback:
            raise not_own(variable, value)
    interfaces = [name for _, name in socket.if_nameindex()]
    for variable, value in environment.items():
        if variable.endswith(_INTERFACES) and value.strip():
            _check_interface(variable, value.strip(), interfaces)


def _check_interface(variable: str, value: str, interfaces: Sequence[str]) -> None:
    """NCCL takes beginnings of names, `=` for whole ones, `^` for ones to leave out; others take names."""
    if value.startswith("^"):
        left = [name for name in interfaces if not name.startswith(tuple(value[1:].split(",")))]
        found = bool(left)
    else:
        whole = value.startswith("=") or not variable.startswith("NCCL")
        wanted = [name.strip() for name in value.removeprefix("=").split(",")]
        found = any(
            name == one if whole else name.startswith(one) for name in interfaces for one in wanted if one
        )
    if not found:
        raise MultinodeError(
            ExitCode.VARIABLE,
            f"'{value}' names no network interface of this pod, which has {', '.join(interfaces)}.",
            where=variable,
            hint="Correct it, or leave it out: the launcher sets it to the interface of the pod's address.",
        )


def without_own_proxy(environment: Mapping[str, str], hosts: Iterable[str]) -> dict[str, str]:
    """The environment, with the group's own hosts excepted from a proxy where there is one.

    Args:
        environment: of an engine.
        hosts: names and addresses of the group's members.
    """
    proxies = [name for name in _PROXIES if environment.get(name)]
    if not proxies:
        return dict(environment)
    given = next((environment[name] for name in _NO_PROXY if environment.get(name)), "")
    listed = [one.strip() for one in given.split(",") if one.strip()]
    if "*" in listed:
        return dict(environment)
    missing = [
        host for host in dict.fromkeys(("localhost", "127.0.0.1", "::1", *hosts)) if host not in listed
    ]
    if missing:
        log.warning(
            "%s would intercept the members' traffic: NO_PROXY now has %s, too",
            ", ".join(proxies),
            ", ".join(missing),
        )
    complete = ",".join([*listed, *missing])
    return {**environment, **dict.fromkeys(_NO_PROXY, complete)}


def own_ray_address(environment: Mapping[str, str]) -> frozenset[str]:
    """RAY_ADDRESS where it is set: the group makes a Ray cluster of its own, and joins no other."""
    if RAY_ADDRESS not in environment:
        return frozenset()
    log.warning("%s is set but not used: the group starts its own Ray cluster", RAY_ADDRESS)
    return frozenset({RAY_ADDRESS})


def api_host(arguments: Sequence[str], address: str) -> str:
    """The address that this node reaches vLLM's API by, which `--host` decides.

    Args:
        arguments: vLLM's.
        address: of this pod.

    Raises:
        MultinodeError: ARGUMENTS; no Service reaches it there.
    """
    given = (last_value(arguments, "--host") or "").strip("[]")
    if given in _EVERYWHERE:
        return _loopback(given, address)
    try:
        wanted = ipaddress.ip_address(given)
    except ValueError as error:
        raise _unreachable(given, "is not an IP address") from error
    if wanted.is_loopback:
        raise _unreachable(given, "is reached from inside this pod only")
    own = {one.address for one in assigned()}
    if own and wanted not in own:
        raise _unreachable(given, "is not an address of this pod")
    return given


def _loopback(given: str, address: str) -> str:
    if ":" in address and given == "0.0.0.0":
        raise _unreachable(given, f"is IPv4 alone, and this pod is reached by {address}")
    return "::1" if ":" in address else "127.0.0.1"


def _unreachable(given: str, why: str) -> MultinodeError:
    return MultinodeError(
        ExitCode.ARGUMENTS,
        f"--host {given} {why}: no Service leads there.",
        where="arguments",
        hint="Leave it out: vLLM then listens on every address of the pod.",
    )

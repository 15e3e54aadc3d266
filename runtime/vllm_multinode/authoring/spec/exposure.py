"""What fields of a deployment spec say of one another: who reaches the pods, and where these run together."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vllm_multinode.authoring.spec import arguments
from vllm_multinode.authoring.spec.fault import Fault
from vllm_multinode.contract import env, ports

if TYPE_CHECKING:
    from vllm_multinode.authoring.spec.deployment import DeploymentSpec


def network(spec: "DeploymentSpec") -> Iterator[Fault]:
    """The range of random ports holds no port that has an owner."""
    if spec.network.port_range is None:
        return
    first, last = spec.network.port_range
    path = ("network", "port_range")
    if not 1024 <= first < last <= 65535:
        yield Fault(path, f"{first} to {last} is not a range within 1024 and 65535")
        return
    if last - first < 511:
        yield Fault(path, f"{first} to {last} are {last - first + 1} ports; a node needs up to 512")
    last_of_ray = ports.RAY + max(ports.RAY_ENV_OFFSETS.values())
    fixed = {
        "vLLM's API": (ports.API, ports.API),
        "the supervisor": (ports.SUPERVISOR, ports.SUPERVISOR),
        "Ray": (ports.RAY, last_of_ray),
        "Ray's workers": ports.RAY_WORKERS,
        "torch's rendezvous": (ports.MASTER, ports.MASTER),
    }
    for whose, (low, high) in fixed.items():
        if first <= high and low <= last:
            which = str(low) if low == high else f"{low}-{high}"
            yield Fault(path, f"{first} to {last} holds {which}, which is {whose}; choose 30000 to 60999")


def publish(spec: "DeploymentSpec") -> Iterator[Fault]:
    """What one way in has and another has not, and an API key that is given twice."""
    publish = spec.publish
    if publish is not None and publish.via == "route":
        for field in ("tls_secret", "class_name"):
            if getattr(publish, field) is not None:
                yield Fault(
                    ("publish", field), "a Route has none, because OpenShift's router has its own; omit it"
                )
    elif publish is not None and publish.reencrypt:
        yield Fault(("publish", "reencrypt"), f"only for a Route, and this is via {publish.via}; omit it")
    if publish is not None and publish.reencrypt and spec.has_router:
        yield Fault(("publish", "reencrypt"), "the router in front of the replicas does not use TLS; omit it")
    if spec.api_key is None:
        return
    if env.API_KEY in spec.env:
        yield Fault(("env", env.API_KEY), f"{env.API_KEY} comes from apiKeySecret; keep one")
    if "api-key" in arguments.names(spec.arguments):
        yield Fault(
            ("arguments",), "anyone who may read pods could read --api-key; use a Secret with apiKeySecret"
        )


def together(spec: "DeploymentSpec") -> Iterator[Fault]:
    """One way of keeping nodes together, not two."""
    if spec.placement.topology_key is None:
        return
    for role, placement in spec.placements.items():
        if "podAffinity" in (placement.affinity or {}):
            yield Fault(
                ("placement", "topology_key"),
                f"the {role}'s affinity already has a podAffinity; keep one of them",
            )


def security(spec: "DeploymentSpec") -> Iterator[Fault]:
    """No sysctl is given twice."""
    name = "net.ipv4.ip_local_port_range"
    sysctls = spec.pod_security_context.get("sysctls", [])
    if not isinstance(sysctls, list | tuple):
        yield Fault(("pod_security_context", "sysctls"), "sysctls is a list of name and value")
        return
    named = any(isinstance(one, dict) and one.get("name") == name for one in sysctls)
    if named and spec.network.port_range is not None:
        yield Fault(("network", "port_range"), f"podSecurityContext sets {name} too; keep one")

"""A NetworkPolicy, interpreted: who reaches which of its pods' ports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from manifests.folders import Object, of_kind
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.k8s.selectors import selects


@dataclass(frozen=True)
class Peer:
    """Somebody who connects, or is connected to."""

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: Mapping[str, str] = field(default_factory=lambda: {"kubernetes.io/metadata.name": "models"})
    address: str = "10.1.2.3"


HOME = {"kubernetes.io/metadata.name": "models"}
STRANGER = Peer({"app": "else"})
OUTSIDE = Peer(namespace={}, address="203.0.113.9")
OUTSIDE_6 = Peer(namespace={}, address="2001:db8::9")
MONITORS = (
    Peer(namespace={"kubernetes.io/metadata.name": "monitoring"}),
    Peer(namespace={"network.openshift.io/policy-group": "monitoring"}),
)
API_SERVER = Peer(namespace={"policy-group.network.openshift.io/host-network": ""})


def allowed(rules: list[Any], key: str, other: Peer, port: int) -> bool:
    """Whether one of a policy's rules lets this peer at this TCP port."""
    return any(
        (not rule.get("ports") or any(_is_port(one, port) for one in rule["ports"]))
        and (not rule.get(key) or any(_is_peer(one, other) for one in rule[key]))
        for rule in rules
    )


def _is_port(entry: Object, port: int) -> bool:
    return entry.get("protocol", "TCP") == "TCP" and entry.get("port") in (None, port)


def _is_peer(entry: Object, other: Peer) -> bool:
    if "ipBlock" in entry:
        network, address = ip_network(entry["ipBlock"]["cidr"]), ip_address(other.address)
        return network.version == address.version and address in network
    if not other.namespace:
        return False
    in_namespace = (
        selects(entry["namespaceSelector"], other.namespace)
        if "namespaceSelector" in entry
        else other.namespace == HOME
    )
    return in_namespace and ("podSelector" not in entry or selects(entry["podSelector"], other.labels))


def member(policy: Object) -> Peer:
    return Peer(policy["podSelector"]["matchLabels"])


def default_policy() -> Object:
    """That of a service whose spec says nothing of its network."""
    least = {"name": "llm", "model": {"claim": "m"}, "parallelism": {"pipeline": 2}}
    (policy,) = of_kind(render(DeploymentSpec.model_validate(least)).documents, "NetworkPolicy")
    return dict(policy["spec"])


def who_reaches(policy: Object, port: int) -> str:
    """In words, of strangers, members, monitoring and the API server's proxy."""
    rules = policy["ingress"]
    if all(allowed(rules, "from", who, port) for who in (STRANGER, OUTSIDE, OUTSIDE_6)):
        return "everybody"
    asked = {"members": (member(policy),), "monitoring": MONITORS, "the API server": (API_SERVER,)}
    reach = [name for name, peers in asked.items() if all(allowed(rules, "from", who, port) for who in peers)]
    return ", ".join(reach) or "nobody"

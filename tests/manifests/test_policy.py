"""The NetworkPolicy, interpreted, against every socket that the real engine was seen to listen on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manifests.folders import MANIFESTS, OVERLAYS, ROOT, BuildError, Object, build, load, of_kind
from manifests.leaf import leaf
from manifests.network_policy import (
    API_SERVER,
    MONITORS,
    OUTSIDE,
    OUTSIDE_6,
    STRANGER,
    Peer,
    allowed,
    default_policy,
    member,
    who_reaches,
)
from manifests.oc_process import process
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.k8s.selectors import selects

LISTENING = re.compile(
    r"^\| (mp|ray) \| (head|worker) \| (\S+) \| (all|the pod's|loopback) \| [^|]+ \| [^|]+ \| ([^|]+) \|$",
    re.MULTILINE,
)


def sockets() -> list[tuple[str, str, int]]:
    """Executor, node and port of each socket that others can reach; of a range its ends."""
    text = (ROOT / "docs/security.md").read_text()
    found = []
    for executor, node, ports, address, _ in LISTENING.findall(text):
        if address == "loopback":
            continue
        # The range that the component port-range gives, and the kernel's own.
        ends = ("40000", "44999", "32768", "60999") if ports == "random" else ports.split("-")
        found += [(executor, node, int(port)) for port in ends]
    assert len(found) > 40
    return found


def policies() -> Iterator[Any]:
    least = {"name": "llm", "model": {"claim": "m"}, "parallelism": {"pipeline": 2}}
    rendered = render(DeploymentSpec.model_validate(least)).documents
    template = process(load(MANIFESTS / "template/template.yaml")[0], {"NAMESPACE": "models"})
    overlays = [(name, build(OVERLAYS / name)) for name in ("tiny", "llama-3-8b-a10g", "mixtral-8x7b-a10g")]
    granite = ("granite-4.0-h-small", build(OVERLAYS / "granite-4.0-h-small"))
    for name, objects in (("rendered", rendered), *overlays, granite, ("template", template)):
        (policy,) = of_kind(list(objects), "NetworkPolicy")
        yield pytest.param(policy["spec"], id=name)


POLICIES = list(policies())


@pytest.mark.parametrize("policy", POLICIES)
def test_strangers_reach_the_api_and_nothing_else(policy: Object) -> None:
    for _, _, port in sockets():
        for who in (STRANGER, OUTSIDE, OUTSIDE_6):
            assert allowed(policy["ingress"], "from", who, port) is (port == 8080), (who, port)


def test_the_document_says_who_reaches_each_socket() -> None:
    policy = default_policy()
    rows = LISTENING.findall((ROOT / "docs/security.md").read_text())
    assert rows
    for executor, node, ports, address, reached_by in rows:
        port = 40000 if ports == "random" else int(ports.partition("-")[0])
        expected = "this pod" if address == "loopback" else who_reaches(policy, port)
        assert reached_by == expected, (executor, node, ports, "run scripts/sockets")


@pytest.mark.parametrize("policy", POLICIES)
def test_members_reach_each_other_on_every_port(policy: Object) -> None:
    for _, _, port in sockets():
        assert allowed(policy["ingress"], "from", member(policy), port)
        assert allowed(policy["egress"], "to", member(policy), port)


@pytest.mark.parametrize("policy", POLICIES)
def test_monitoring_and_openshift_s_api_server_reach_the_supervisor(policy: Object) -> None:
    for who in (*MONITORS, API_SERVER):
        assert allowed(policy["ingress"], "from", who, 8081)
        assert not allowed(policy["ingress"], "from", who, 6379)


@pytest.mark.parametrize("policy", POLICIES)
def test_no_member_is_led_to_a_foreign_head(policy: Object) -> None:
    for who in (STRANGER, OUTSIDE, OUTSIDE_6):
        for _, _, port in sockets():
            assert not allowed(policy["egress"], "to", who, port), (who, port)
        assert allowed(policy["egress"], "to", who, 53)


ON_OPENSHIFT = {"template", "llama-3-8b-a10g", "mixtral-8x7b-a10g", "granite-4.0-h-small"}


@pytest.mark.parametrize("policy", POLICIES)
def test_pods_reach_https_only_where_a_proxy_asks_the_kubernetes_api(
    policy: Object, request: pytest.FixtureRequest
) -> None:
    has_proxy = request.node.callspec.id in ON_OPENSHIFT
    assert allowed(policy["egress"], "to", OUTSIDE, 443) is has_proxy
    assert allowed(policy["egress"], "to", OUTSIDE, 6443) is has_proxy


def test_the_policy_comes_before_openshift_or_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="list 'network-policy' before 'openshift'"):
        build(leaf(tmp_path / "leaf", "openshift", "network-policy"))
    (policy,) = of_kind(build(leaf(tmp_path / "in-order", "network-policy", "openshift")), "NetworkPolicy")
    assert allowed(policy["spec"]["egress"], "to", OUTSIDE, 443)


def test_whom_the_user_names_is_all_that_reaches_the_api() -> None:
    network = {"clientsFrom": ["10.1.0.0/16", "fd00::/8"], "statusFrom": ["192.0.2.0/24"]}
    least = {"name": "llm", "model": {"claim": "m"}, "parallelism": {"pipeline": 2}, "network": network}
    (policy,) = of_kind(render(DeploymentSpec.model_validate(least)).documents, "NetworkPolicy")
    rules = policy["spec"]["ingress"]
    assert allowed(rules, "from", Peer(address="10.1.9.9"), 8080)
    assert allowed(rules, "from", Peer(address="fd00::1"), 8080)
    assert not allowed(rules, "from", OUTSIDE, 8080)
    assert allowed(rules, "from", Peer(namespace={}, address="192.0.2.7"), 8081)
    assert not allowed(rules, "from", Peer(namespace={}, address="192.0.2.7"), 8080)


def test_the_job_that_fills_secrets_and_the_one_that_fetches_are_not_closed_in() -> None:
    """They need the Kubernetes API and a hub, and listen on nothing."""
    least: dict[str, Any] = {"name": "llm", "parallelism": {"pipeline": 2}}
    spec = DeploymentSpec.model_validate(least | {"model": {"source": "hf://a/b", "size": "1Gi"}})
    documents = render(spec).documents
    (policy,) = of_kind(documents, "NetworkPolicy")
    for job in of_kind(documents, "Job"):
        assert not selects(policy["spec"]["podSelector"], job["spec"]["template"]["metadata"]["labels"])

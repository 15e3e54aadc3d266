import ipaddress
import logging

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher import addresses
from vllm_multinode.launcher.addresses import (
    api_host,
    check_addresses,
    own_ray_address,
    service_links,
    without_own_proxy,
)
from vllm_multinode.launcher.network import Assigned


def links(service: str) -> dict[str, str]:
    """What Kubernetes injects for a Service with a port named http."""
    name = service.upper().replace("-", "_")
    return {
        f"{name}_SERVICE_HOST": "10.96.0.9",
        f"{name}_SERVICE_PORT": "8080",
        f"{name}_SERVICE_PORT_HTTP": "8080",
        f"{name}_PORT": "tcp://10.96.0.9:8080",
        f"{name}_PORT_8080_TCP": "tcp://10.96.0.9:8080",
        f"{name}_PORT_8080_TCP_PROTO": "tcp",
        f"{name}_PORT_8080_TCP_PORT": "8080",
        f"{name}_PORT_8080_TCP_ADDR": "10.96.0.9",
    }


@pytest.mark.parametrize("service", ["vllm", "multinode", "multinode-ray", "ray", "vllm-multinode-api"])
def test_what_a_service_of_a_programs_name_injects_is_left_out(service: str) -> None:
    own = {"VLLM_HOST_IP": "10.0.0.1", "MULTINODE_SUPERVISOR_PORT": "8081", "RAY_NODE_COUNT": "2"}
    assert service_links(own | links(service)) == set(links(service))


def test_a_service_of_another_name_is_nobodys_business() -> None:
    assert not service_links(links("kubernetes") | links("llm"))


def test_what_the_pod_sets_itself_stays() -> None:
    assert "MULTINODE_PORT" not in service_links(links("multinode") | {"MULTINODE_PORT": "9000"})


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        pytest.param("POD_IP", "192.0.2.7", "192.0.2.7 is not an address of this pod, which has", id="pod"),
        pytest.param("VLLM_HOST_IP", "192.0.2.7", "is not an address of this pod", id="vllm"),
        pytest.param("VLLM_HOST_IP", "fd00:bad::7", "is not an address of this pod", id="ipv6"),
        pytest.param("VLLM_HOST_IP", "eth0", "'eth0' is not an IP address", id="a-name"),
        pytest.param("GLOO_SOCKET_IFNAME", "ib9", "'ib9' names no network interface", id="gloo"),
        pytest.param("NCCL_SOCKET_IFNAME", "=ib9", "which has", id="nccl-whole-name"),
        pytest.param("NCCL_SOCKET_IFNAME", "ib", "names no network interface", id="nccl-beginning"),
        pytest.param("TP_SOCKET_IFNAME", "l", "names no network interface", id="only-nccl-takes-beginnings"),
    ],
)
def test_what_this_pod_does_not_have_is_refused_by_name(variable: str, value: str, words: str) -> None:
    with pytest.raises(MultinodeError) as refused:
        check_addresses({variable: value})
    assert (refused.value.code, refused.value.where) == (ExitCode.VARIABLE, variable)
    assert words in refused.value.what
    assert refused.value.hint


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("POD_IP", "127.0.0.1", id="address"),
        pytest.param("POD_IP", "127.0.0.2", id="another-of-loopback"),
        pytest.param("VLLM_HOST_IP", "", id="empty"),
        pytest.param("GLOO_SOCKET_IFNAME", "lo", id="name"),
        pytest.param("GLOO_SOCKET_IFNAME", "lo,ib9", id="one-of-several"),
        pytest.param("NCCL_SOCKET_IFNAME", "l", id="beginning"),
        pytest.param("NCCL_SOCKET_IFNAME", "=lo", id="whole"),
        pytest.param("NCCL_SOCKET_IFNAME", "^docker", id="all-but"),
    ],
)
def test_what_it_has_is_accepted(variable: str, value: str) -> None:
    check_addresses({variable: value})


class TestProxy:
    def test_without_one_nothing_changes(self) -> None:
        assert without_own_proxy({"NO_PROXY": "a"}, ["10.0.0.1"]) == {"NO_PROXY": "a"}

    @pytest.mark.parametrize("proxy", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
    def test_the_groups_own_hosts_are_excepted(self, proxy: str, caplog: pytest.LogCaptureFixture) -> None:
        told = {proxy: "http://p:3128", "no_proxy": ".svc, 10.0.0.1"}
        found = without_own_proxy(told, ["10.0.0.1", "10.0.0.2"])
        assert found["NO_PROXY"] == found["no_proxy"] == ".svc,10.0.0.1,localhost,127.0.0.1,::1,10.0.0.2"
        assert f"{proxy} would intercept" in caplog.text
        assert found[proxy] == "http://p:3128"

    def test_where_all_is_excepted_already_nothing_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        told = {"HTTP_PROXY": "http://p", "NO_PROXY": "*"}
        assert without_own_proxy(told, ["10.0.0.1"]) == told
        assert not caplog.text


def test_another_ray_cluster_is_not_joined(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert own_ray_address({"RAY_ADDRESS": "ray://elsewhere:10001"}) == {"RAY_ADDRESS"}
    assert "RAY_ADDRESS is set but not used" in caplog.text
    assert own_ray_address({}) == frozenset()


class TestApiHost:
    @pytest.mark.parametrize(
        ("arguments", "address", "host"),
        [
            pytest.param((), "10.0.0.1", "127.0.0.1", id="not-given"),
            pytest.param(("--host", "0.0.0.0"), "10.0.0.1", "127.0.0.1", id="everywhere"),
            pytest.param(("--host", "::"), "10.0.0.1", "127.0.0.1", id="everywhere-in-both-families"),
            pytest.param((), "fd00::1", "::1", id="ipv6-alone"),
        ],
    )
    def test_where_vllm_listens_everywhere_it_is_asked_on_loopback(
        self, arguments: tuple[str, ...], address: str, host: str
    ) -> None:
        assert api_host(arguments, address) == host

    def test_where_it_listens_on_the_pods_address_it_is_asked_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = Assigned(ipaddress.ip_address("10.0.0.1"), "eth0", link_local=False)
        monkeypatch.setattr(addresses, "assigned", lambda: [own])
        assert api_host(("--host=10.0.0.1",), "10.0.0.1") == "10.0.0.1"

    @pytest.mark.parametrize(
        ("given", "address", "words"),
        [
            pytest.param("127.0.0.1", "10.0.0.1", "is reached from inside this pod only", id="loopback"),
            pytest.param("::1", "fd00::1", "is reached from inside this pod only", id="loopback-ipv6"),
            pytest.param("192.0.2.7", "10.0.0.1", "is not an address of this pod", id="anothers"),
            pytest.param("localhost", "10.0.0.1", "is not an IP address", id="name"),
            pytest.param("0.0.0.0", "fd00::1", "is IPv4 alone", id="ipv4-in-an-ipv6-pod"),
        ],
    )
    def test_an_address_that_no_service_reaches_is_refused(
        self, given: str, address: str, words: str
    ) -> None:
        with pytest.raises(MultinodeError, match="no Service leads there") as refused:
            api_host(("--host", given), address)
        assert refused.value.code is ExitCode.ARGUMENTS
        assert f"--host {given} {words}" in refused.value.what

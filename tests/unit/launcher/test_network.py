import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.network import (
    assigned,
    check_ports_apart,
    check_ports_free,
    check_range_free,
    host_port,
    interface_of,
    listen_addresses,
    own_address,
    warn_of_random_ports,
)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_the_pods_address_is_the_downward_apis() -> None:
    assert own_address("10.0.0.7") == "10.0.0.7"


def test_without_it_the_address_is_one_of_this_node() -> None:
    address = own_address(None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))


def test_the_interface_that_holds_an_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.1") is None
    assert interface_of("no address") is None
    assert all(interface_of(str(one.address)) == one.interface for one in assigned())


def test_a_supervisor_listens_on_its_own_addresses_and_on_loopback() -> None:
    found = listen_addresses("192.0.2.1")
    assert (found[0], "127.0.0.1" in found) == ("192.0.2.1", True)
    assert not {"0.0.0.0", "::"} & set(found)


@pytest.mark.parametrize(
    ("host", "written"),
    [
        pytest.param("10.0.0.1", "10.0.0.1:80", id="ipv4"),
        pytest.param("fd00::1", "[fd00::1]:80", id="ipv6"),
        pytest.param("[fd00::1]", "[fd00::1]:80", id="in-brackets-already"),
        pytest.param("llm-head.ns.svc", "llm-head.ns.svc:80", id="name"),
    ],
)
def test_an_address_and_a_port(host: str, written: str) -> None:
    assert host_port(host, 80) == written


def test_the_first_taken_port_is_named_with_its_variable(taken: int, unused_tcp_port: int) -> None:
    with pytest.raises(MultinodeError) as refused:
        check_ports_free({"MULTINODE_PORT": [unused_tcp_port], "MULTINODE_RAY_PORT": [taken]})
    assert (refused.value.code, refused.value.where) == (ExitCode.PORT_TAKEN, "MULTINODE_RAY_PORT")
    assert f"port {taken} is taken" in refused.value.what


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        pytest.param({"A": (8080,), "B": (1, 8080)}, "port 8080 belongs to A already", id="twice"),
        pytest.param({"A": range(20000, 21000), "B": (20100,)}, "port 20100 belongs to A", id="in-a-range"),
        pytest.param({"B": range(65530, 65541)}, "65530 leaves no room for its 11 ports", id="too-high"),
    ],
)
def test_ports_that_cannot_all_be_had(ports: dict[str, Sequence[int]], words: str) -> None:
    with pytest.raises(MultinodeError, match=words) as refused:
        check_ports_apart(ports)
    assert (refused.value.code, refused.value.where) == (ExitCode.VARIABLE, "B")


def test_ports_that_can_all_be_had() -> None:
    check_ports_apart({"A": (8080, 8080), "B": range(65530, 65536)})


def test_free_ports_stay_free(unused_tcp_port: int) -> None:
    for _ in range(2):
        check_ports_free({"MULTINODE_PORT": [unused_tcp_port]})


def test_a_range_needs_some_free_ports(taken: int) -> None:
    check_range_free("MULTINODE_RAY_WORKER_PORTS", (taken, taken + 50), 3)
    with pytest.raises(
        MultinodeError, match=f"fewer than 2 ports from {taken} to {taken} are free"
    ) as refused:
        check_range_free("MULTINODE_RAY_WORKER_PORTS", (taken, taken), 2)
    assert refused.value.where == "MULTINODE_RAY_WORKER_PORTS"


def test_a_port_that_the_kernel_may_give_away_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "range").write_text("40000\t44999\n")
    ports = {"MULTINODE_PORT": [8080], "MULTINODE_MASTER_PORT": [40001]}
    warn_of_random_ports(ports, tmp_path / "range")
    assert (
        "MULTINODE_MASTER_PORT: port 40001 is in the kernel's range of ephemeral ports, 40000 to 44999"
        in caplog.text
    )
    assert "MULTINODE_PORT:" not in caplog.text
    warn_of_random_ports(ports, tmp_path / "absent")


def test_a_port_that_was_just_left_is_free(unused_tcp_port: int) -> None:
    # As after a restart in place: the old connections are in TIME_WAIT.
    with socket.create_server(("127.0.0.1", unused_tcp_port)) as server:
        client = socket.create_connection(("127.0.0.1", unused_tcp_port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    check_ports_free({"MULTINODE_PORT": [unused_tcp_port]})

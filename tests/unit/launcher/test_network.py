import socket
from collections.abc import Iterator

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.network import check_ports_free, interface_of, own_address


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


def test_the_first_taken_port_is_named_with_its_variable(taken: int, unused_tcp_port: int) -> None:
    with pytest.raises(MultinodeError) as refused:
        check_ports_free({"MULTINODE_PORT": unused_tcp_port, "MULTINODE_RAY_PORT": taken})
    assert (refused.value.code, refused.value.where) == (ExitCode.PORT_TAKEN, "MULTINODE_RAY_PORT")
    assert f"port {taken} is taken" in refused.value.what


def test_free_ports_stay_free(unused_tcp_port: int) -> None:
    for _ in range(2):
        check_ports_free({"MULTINODE_PORT": unused_tcp_port})


def test_a_port_that_was_just_left_is_free(unused_tcp_port: int) -> None:
    # As after a restart in place: the old connections are in TIME_WAIT.
    with socket.create_server(("127.0.0.1", unused_tcp_port)) as server:
        client = socket.create_connection(("127.0.0.1", unused_tcp_port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    check_ports_free({"MULTINODE_PORT": unused_tcp_port})

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.settings import Sizes
from vllm_multinode.launcher.sizes import check_members, check_sizes, stages_of_node


def sizes(tensor_parallel: int, pipeline_parallel: int, nodes: int) -> Sizes:
    return Sizes(tensor_parallel=tensor_parallel, pipeline_parallel=pipeline_parallel, nodes=nodes)


@pytest.mark.parametrize(
    ("executor", "group", "gpus", "words"),
    [
        pytest.param("ray", (1, 2, 3), 1, "leave 1 of 3 nodes without work", id="more-nodes-than-ranks"),
        pytest.param("mp", (1, 3, 2), 2, "do not divide evenly over 2 nodes", id="mp-uneven"),
        pytest.param("mp", (4, 2, 2), 2, "need 4 accelerators per node; this one has 2", id="mp-too-few"),
        pytest.param("ray", (4, 2, 1), 4, "need 8 accelerators; the only node has 4", id="one-node-ray"),
        pytest.param("mp", (4, 2, 1), 4, "need 8 accelerators per node", id="one-node-mp"),
    ],
)
def test_sizes_that_do_not_fit(
    executor: ExecutorName, group: tuple[int, int, int], gpus: int, words: str
) -> None:
    with pytest.raises(MultinodeError, match=words) as refused:
        check_sizes(executor, sizes(*group), gpus)
    assert refused.value.code is ExitCode.SIZES
    assert refused.value.where == "RAY_NODE_COUNT"
    assert refused.value.hint


@pytest.mark.parametrize(
    ("executor", "group", "gpus"),
    [
        pytest.param("mp", (4, 2, 2), 4, id="pp-across-nodes"),
        pytest.param("mp", (2, 1, 2), 1, id="tp-across-nodes"),
        pytest.param("ray", (1, 3, 2), 1, id="uneven-under-ray"),
        pytest.param("ray", (4, 2, 2), 2, id="the-rest-may-be-on-the-worker"),
        pytest.param("ray", (1, 1, 1), 1, id="one-node"),
        pytest.param("mp", (4, 2, 2), None, id="not-told"),
    ],
)
def test_sizes_that_fit(executor: ExecutorName, group: tuple[int, int, int], gpus: int | None) -> None:
    check_sizes(executor, sizes(*group), gpus)


def test_mp_refuses_unequal_nodes_by_name() -> None:
    with pytest.raises(MultinodeError, match="head h has 4 accelerators and worker w2 has 2") as refused:
        check_members("mp", sizes(4, 3, 3), {"h": 4, "w1": 4, "w2": 2})
    assert refused.value.code is ExitCode.SIZES
    assert "MULTINODE_EXECUTOR=ray" in refused.value.hint


def test_ray_takes_unequal_nodes() -> None:
    check_members("ray", sizes(1, 5, 3), {"h": 2, "w1": 1, "w2": 2})


def test_a_group_that_holds_too_few_lists_who_brought_what() -> None:
    with pytest.raises(MultinodeError, match=r"need 8 accelerators; the group holds 6 \(h 4, w 2\)"):
        check_members("ray", sizes(4, 2, 2), {"h": 4, "w": 2})


@pytest.mark.parametrize(
    ("group", "stages"),
    [
        pytest.param((1, 2, 2), [[0], [1]], id="a-stage-a-node"),
        pytest.param((4, 2, 4), [[0], [0], [1], [1]], id="a-stage-over-two-nodes"),
        pytest.param((2, 4, 2), [[0, 1], [2, 3]], id="two-stages-a-node"),
        pytest.param((8, 1, 2), [[0], [0]], id="tp-across-nodes"),
        pytest.param((2, 2, 1), [[0, 1]], id="one-node"),
    ],
)
def test_stages_of_a_node(group: tuple[int, int, int], stages: list[list[int]]) -> None:
    found = [list(stages_of_node(sizes(*group), rank)) for rank in range(group[2])]
    assert found == stages


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 16))
def test_every_node_reads_stages_that_exist(tensor: int, pipeline: int, nodes: int) -> None:
    for rank in range(nodes):
        found = stages_of_node(sizes(tensor, pipeline, nodes), rank)
        assert found
        assert 0 <= found.start < found.stop <= pipeline

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kserve_inputs import VERSIONS
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.kserve import Role
from vllm_multinode.platforms.kserve.environment import Service, injected_environment
from vllm_multinode.platforms.kserve.nodes import Layout, layout
from vllm_multinode.platforms.releases import find

RECORDED: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[3] / "data" / "kserve_environment.yaml").read_text()
)
CASES = [
    pytest.param(version, case, id=f"{version}-{case}")
    for version, cases in RECORDED["seen"].items()
    for case in cases
]


def counted(version: str, case: str) -> Layout:
    return layout(find(version), **RECORDED["inputs"][case])


@pytest.mark.parametrize(("version", "case"), CASES)
def test_nodes_and_accelerators_are_what_the_controller_made(version: str, case: str) -> None:
    seen = RECORDED["seen"][version][case]
    assert counted(version, case) == Layout(
        nodes=seen["head"]["replicas"] + seen["worker"]["replicas"],
        head_gpus=seen["head"]["gpus"],
        worker_gpus=seen["worker"]["gpus"],
    )


@pytest.mark.parametrize("role", ["head", "worker"])
@pytest.mark.parametrize(("version", "case"), CASES)
def test_the_environment_is_what_the_controller_injected(version: str, case: str, role: Role) -> None:
    sizes = RECORDED["inputs"][case]
    nodes, head_gpus, worker_gpus = counted(version, case)
    service = Service(
        name="llm",
        tensor_parallel=sizes["tensor_parallel"],
        pipeline_parallel=sizes["pipeline_parallel"],
        nodes=nodes,
        head_gpus=head_gpus,
        worker_gpus=worker_gpus,
    )
    seen = RECORDED["seen"][version][case][role]["environment"]
    # As lists: a variable may refer to those before it.
    assert list(injected_environment(find(version), role, service).items()) == list(seen.items())


def test_each_generation_has_services_of_its_own() -> None:
    injected = injected_environment(find("0.18.1"), "worker", Service(name="llm", generation=7))
    assert (injected["HEAD_SVC"], injected["WORKER_SVC"]) == ("llm-head-7", "llm-workers-7")


def test_every_recorded_version_is_known() -> None:
    assert {version.removeprefix("v") for version in RECORDED["seen"]} <= set(VERSIONS)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param((4, 3, 0, 4), Layout(3, 4, 4), id="worker-only"),
        pytest.param((3, 3, 0, 4), Layout(3, 1, 4), id="worker-only-and-a-rest-for-the-head"),
        pytest.param((4, 2, 4, 0), Layout(5, 4, 1), id="head-only-leaves-single-gpu-workers"),
        pytest.param((4, 2, 8, 4), Layout(1, 8, 0), id="head-alone-is-enough"),
        pytest.param((4, 1, 0, 4), Layout(1, 4, 0), id="one-worker-would-be-enough"),
    ],
)
def test_requests_decide_the_nodes_under_ray(sizes: tuple[int, int, int, int], expected: Layout) -> None:
    tensor, pipeline, head, worker = sizes
    assert expected == layout(
        find("0.18.1"),
        "ray",
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        head_gpus=head,
        worker_gpus=worker,
    )


def test_too_few_accelerators_are_refused_with_the_numbers() -> None:
    with pytest.raises(MultinodeError, match=r"needs 8 accelerators; head 1 and 1 workers of 4 hold 5") as no:
        layout(find("0.18.1"), "ray", tensor_parallel=4, pipeline_parallel=2, head_gpus=1, worker_gpus=4)
    assert no.value.code is ExitCode.SIZES


@given(
    version=st.sampled_from(VERSIONS),
    executor=st.sampled_from(["ray", "mp"]),
    tensor_parallel=st.integers(1, 64),
    pipeline_parallel=st.integers(1, 32),
    head_gpus=st.integers(0, 64),
    worker_gpus=st.integers(0, 64),
)
def test_a_layout_holds_every_rank_or_is_refused(
    version: str,
    executor: ExecutorName,
    tensor_parallel: int,
    pipeline_parallel: int,
    head_gpus: int,
    worker_gpus: int,
) -> None:
    contradicts = False
    try:
        found = layout(
            find(version),
            executor,
            tensor_parallel=tensor_parallel,
            pipeline_parallel=pipeline_parallel,
            head_gpus=head_gpus,
            worker_gpus=worker_gpus,
        )
    except MultinodeError:
        contradicts = True
    if contradicts:
        # Only two requests that were both named can contradict TP x PP.
        assert head_gpus > 0
        assert worker_gpus > 0
        return
    assert found.nodes >= 1
    assert found.head_gpus >= 1
    held = found.head_gpus + found.worker_gpus * (found.nodes - 1)
    assert held >= tensor_parallel * pipeline_parallel

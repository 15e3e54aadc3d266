import os
from pathlib import Path
from typing import Any

import pytest

from kserve_inputs import VERSIONS
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.kserve import Role
from vllm_multinode.local.run import isvc
from vllm_multinode.local.run.isvc import LocalService, fit, pods, variables
from vllm_multinode.platforms.kserve.environment import Service, injected_environment
from vllm_multinode.platforms.releases import find

RUNTIME = {
    "MULTINODE_DRAIN_TIMEOUT",
    "PATH",
    "HOME",
    "LANG",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "VLLM_CACHE_ROOT",
    "VLLM_NO_USAGE_STATS",
    "VLLM_CPU_OMP_THREADS_BIND",
    "OMP_NUM_THREADS",
    "POD_IP",
    "POD_NAME",
    "POD_NAMESPACE",
    "MULTINODE_EXECUTOR",
    "MULTINODE_GENERATION",
    "MULTINODE_ACCELERATOR",
}


def local(tmp_path: Path, **changes: Any) -> LocalService:
    given: dict[str, Any] = {
        "service": Service(name="llm", pipeline_parallel=3, nodes=3),
        "model": tmp_path,
        "args": ("--max-model-len", "64"),
    }
    return LocalService(**given | changes)


@pytest.mark.parametrize("role", ["head", "worker"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_environment_is_kserves_and_the_runtimes_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, role: Role
) -> None:
    monkeypatch.setenv("OF_THE_CALLER", "1")
    given = local(tmp_path, release=find(version), env={"MINE": "1"})
    pod = next(pod for pod in pods(given, tmp_path / "cache") if pod.role == role)
    found = pod.environment("pod-name", "10.77.0.9")
    injected = injected_environment(find(version), role, given.service)
    assert set(found) == RUNTIME | {"MINE"} | set(injected)
    assert injected.items() <= found.items()
    assert (found["POD_NAME"], found["POD_IP"]) == ("pod-name", "10.77.0.9")


def test_pods_are_named_and_found_as_kserve_does_it(tmp_path: Path) -> None:
    head, first, second = pods(local(tmp_path), tmp_path / "cache")
    assert [pod.node for pod in (head, first, second)] == ["head", "worker-1", "worker-2"]
    assert head.generate_name.startswith("llm-predictor-")
    assert first.generate_name.startswith("llm-predictor-worker-")
    assert head.services[0] == "llm-head-1"
    assert "llm-head-1.default.svc" in head.services
    assert second.services[0] == "llm-workers-1"


def test_arguments_go_to_the_head_alone(tmp_path: Path) -> None:
    head, worker, _ = pods(local(tmp_path), tmp_path / "cache")
    assert head.argv == (isvc.program(), "head", "--max-model-len", "64")
    assert worker.argv == (isvc.program(), "worker")


def test_the_model_is_mounted_read_only_and_the_cache_is_shared(tmp_path: Path) -> None:
    for pod in pods(local(tmp_path), tmp_path / "cache"):
        model, cache = pod.mounts
        assert (model.source, str(model.target), model.read_only) == (tmp_path, "/mnt/models", True)
        assert (cache.source, cache.read_only) == (tmp_path / "cache", False)


def test_pinned_nodes_get_cores_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5})
    shares = [set(pod.cpus) for pod in pods(local(tmp_path, pin=True), tmp_path / "cache")]
    assert [len(share) for share in shares] == [2, 2, 2]
    assert set.union(*shares) == {0, 1, 2, 3, 4, 5}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7})
    assert [pod.cpus for pod in pods(local(tmp_path, pin=True), tmp_path / "cache")] == [(7,), (7,), (7,)]


def test_a_missing_model_directory_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MultinodeError, match="absent: is not a directory") as refused:
        pods(local(tmp_path, model=tmp_path / "absent"), tmp_path / "cache")
    assert refused.value.code == ExitCode.MODEL_MISSING


@pytest.mark.parametrize(
    ("executor", "nodes", "parallel", "gpus", "expected"),
    [
        pytest.param("ray", 2, (1, 2), (0, 0), (2, 1, 1), id="ray-pp-across"),
        pytest.param("ray", 2, (2, 1), (0, 0), (2, 1, 1), id="ray-tp-across"),
        pytest.param("ray", 2, (1, 3), (0, 0), (2, 1, 2), id="ray-uneven"),
        pytest.param("ray", 2, (1, 3), (2, 0), (2, 2, 1), id="ray-bigger-head"),
        pytest.param("ray", 1, (2, 1), (0, 0), (1, 2, 1), id="ray-one-node"),
        pytest.param("ray", None, (2, 2), (0, 0), (4, 1, 1), id="ray-as-kserve-counts"),
        pytest.param("mp", 2, (2, 2), (0, 0), (2, 2, 2), id="mp"),
        pytest.param("mp", None, (1, 3), (0, 0), (3, 1, 1), id="mp-as-kserve-counts"),
    ],
)
def test_nodes_are_counted_as_kserve_counts_them(
    executor: ExecutorName,
    nodes: int | None,
    parallel: tuple[int, int],
    gpus: tuple[int, int],
    expected: tuple[int, int, int],
) -> None:
    found = fit(
        find("0.18.1"),
        executor,
        nodes=nodes,
        tensor_parallel=parallel[0],
        pipeline_parallel=parallel[1],
        head_gpus=gpus[0],
        worker_gpus=gpus[1],
    )
    assert tuple(found) == expected


def test_a_count_that_kserve_would_not_make_is_refused() -> None:
    with pytest.raises(MultinodeError, match=r"makes 1 nodes of TP 2 x PP 1.*not 2") as refused:
        fit(find("0.18.1"), "mp", nodes=2, tensor_parallel=2, pipeline_parallel=1)
    assert refused.value.code == ExitCode.SIZES


@pytest.mark.parametrize("pair", ["NAME", "=value", ""], ids=repr)
def test_an_environment_pair_without_a_name_or_value_is_refused(pair: str) -> None:
    with pytest.raises(MultinodeError, match="not NAME=VALUE"):
        variables([pair])


def test_an_environment_value_may_hold_anything() -> None:
    assert variables(["A=1=2", "B="]) == {"A": "1=2", "B": ""}

"""`multinode bench` with the real engine: what it measures, and each shape that it names, made on purpose."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.conftest import Start
from engine.forwarder import forwarding
from engine.links import slow_link
from engine.services import LocalGroup, service
from vllm_multinode.local.run import isvc
from vllm_multinode.local.rundir import RunInfo, Runs
from vllm_multinode.local.tiny_model.make_model import make_model
from vllm_multinode.operate.bench.ladder import Bounds, Ladder
from vllm_multinode.operate.bench.result import BenchResult, Load
from vllm_multinode.operate.bench.target import Target, at_service, at_url, service_of
from vllm_multinode.operate.bench.tool import Tool, find_vllm
from vllm_multinode.operate.local_source import LocalSource

pytestmark = [pytest.mark.engine, pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here")]

PATIENCE = 600.0
SLOTS = 6
"""Requests that the engine takes at a time."""
ARGUMENTS = ("--dtype", "float32", "--max-num-seqs", str(SLOTS), "--num-gpu-blocks-override", "64")
Measure = Callable[..., BenchResult]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough for its layers to take longer than what is around them."""
    folder = tmp_path_factory.mktemp("model") / "llama"
    return make_model(folder, layers=8, heads=8, kv_heads=4, width=512).directory


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    with Tool(find_vllm(""), tmp_path_factory.mktemp("tool")) as found:
        found.wait_until_loaded(PATIENCE)
        yield found


@pytest.fixture(scope="module")
def group(start_for_module: Start, model: Path) -> LocalGroup:
    local = service(model, args=ARGUMENTS, env={"MULTINODE_BACKOFF": "0"})
    found = start_for_module(isvc.pods(local, isvc.cache_directory()))
    found.wait_until_serving(1, PATIENCE)
    return found


def seen_by(group: LocalGroup, model: Path, url: str = "") -> Target:
    """As `multinode bench --local` sees it."""
    directory = group.run.directory
    directory.write_info(
        RunInfo(
            run=directory.name,
            service="llm",
            runner=os.getpid(),
            url=group.apis["head"],
            supervisor_url=group.supervisors["head"],
            logs=str(directory.logs),
            started=time.time(),
            model=str(model),
        )
    )
    place = LocalSource(Runs(directory.path.parent))
    seen = service_of(place, directory.name)
    return at_service(place, seen, url or group.apis["head"], "", str(model))


@pytest.fixture
def measure(tool: Tool, model: Path, tmp_path: Path) -> Measure:
    def climbed(
        target: Target,
        rungs: Sequence[int],
        *,
        prompt: int = 32,
        answer: int = 32,
        seconds: float = 12,
    ) -> BenchResult:
        load = Load(input_tokens=prompt, output_tokens=answer)
        bounds = Bounds(seconds=PATIENCE, requests=2000, rung_seconds=seconds)
        found = Ladder(target, tool, "llm", str(model), load, tmp_path, bounds).climb(rungs)
        assert not found.ended, found.ended
        assert not any(rung.errors for rung in found.rungs), found.rungs
        return found

    return climbed


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--all-versions"):
        pytest.skip("each shape takes half a minute; with --all-versions")


def ids(found: BenchResult) -> list[str]:
    return [one.id for one in found.verdicts]


def explained(found: BenchResult) -> str:
    return "\n".join(rung.window.model_dump_json(indent=1) for rung in found.rungs if rung.window is not None)


def test_more_requests_than_the_batch_takes_queue(group: LocalGroup, model: Path, measure: Measure) -> None:
    found = measure(seen_by(group, model), (2, 4 * SLOTS), answer=16, seconds=6)
    assert ids(found)[0] == "queue", explained(found)
    lone, crowded = found.rungs
    assert lone.ttft_ms is not None
    assert crowded.ttft_ms is not None
    assert crowded.ttft_ms.p50 > lone.ttft_ms.p50
    assert crowded.itl_ms is not None
    # Tokens that come together are one event of a stream.
    assert 0 < crowded.itl_ms.count <= crowded.requests * 15
    (counted,) = crowded.window.engines if crowded.window is not None else ()
    assert counted.done == pytest.approx(crowded.requests, abs=4 * SLOTS)
    # The supervisors told of both stages, and of the way between them.
    status = group.status()
    assert [len(member["processes"]) > 0 for member in status["members"]] == [True, True]
    assert status["members"][1]["round_trip_ms"] > 0
    assert [one["reason"] for one in status["wire"]] == ["", ""]


@pytest.mark.usefixtures("thorough")
class TestShapes:
    def test_none_of_them(self, group: LocalGroup, model: Path, measure: Measure) -> None:
        found = measure(seen_by(group, model), (SLOTS,))
        assert ids(found) == ["engine"], explained(found)

    def test_a_slow_proxy(self, group: LocalGroup, model: Path, measure: Measure) -> None:
        (direct,) = measure(seen_by(group, model), (SLOTS,), seconds=5).rungs
        assert direct.e2e_ms is not None
        with forwarding([group.apis["head"]], delay=2 * direct.e2e_ms.p50 / 1000) as url:
            found = measure(seen_by(group, model, url), (SLOTS,))
        assert "coordinator" in ids(found), explained(found)
        assert "router, a proxy" in next(one for one in found.verdicts if one.id == "coordinator").sentence

    def test_a_stage_that_lacks_its_core(self, group: LocalGroup, model: Path, measure: Measure) -> None:
        with crowded_core(group, "worker-1"):
            found = measure(seen_by(group, model), (SLOTS,))
        assert "stage" in ids(found), explained(found)
        assert "rank 1" in next(one for one in found.verdicts if one.id == "stage").sentence

    def test_a_slow_link_between_the_stages(self, group: LocalGroup, model: Path, measure: Measure) -> None:
        with slow_link(group, "1mbit"):
            found = measure(seen_by(group, model), (SLOTS,))
        assert "network" in ids(found), explained(found)

    def test_a_cache_that_is_too_small(self, group: LocalGroup, model: Path, measure: Measure) -> None:
        found = measure(seen_by(group, model), (SLOTS,), prompt=1200, answer=400)
        assert "cache" in ids(found), explained(found)


@contextlib.contextmanager
def crowded_core(group: LocalGroup, node: str, neighbours: int = 4) -> Iterator[None]:
    """A node's processes share one core with others that never rest."""
    core = max(os.sched_getaffinity(0))
    everywhere = os.sched_getaffinity(0)
    burn = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    burning = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(neighbours)]
    pinned = group.processes(node, "")
    pin(pinned, {core})
    try:
        yield
    finally:
        for one in burning:
            one.kill()
            one.wait(60)
        pin(pinned, everywhere)


def pin(processes: Sequence[int], cores: set[int]) -> None:
    for pid in processes:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(thread.name), cores)


@pytest.mark.usefixtures("thorough")
def test_one_slow_replica(start_for_module: Start, model: Path, measure: Measure) -> None:
    groups = []
    for _ in range(2):
        local = service(model, nodes=1, args=ARGUMENTS, env={"MULTINODE_BACKOFF": "0"})
        groups.append(start_for_module(isvc.pods(local, isvc.cache_directory())))
        groups[-1].wait_until_serving(1, PATIENCE)
    heads = [one.apis["head"] for one in groups]
    with forwarding(heads) as url, crowded_core(groups[1], "head"):
        found = measure(at_url(url, heads, ""), (SLOTS,))
    assert ids(found)[0] == "replicas", explained(found)
    assert heads[1] in found.verdicts[0].sentence

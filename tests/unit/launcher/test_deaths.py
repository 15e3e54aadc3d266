import asyncio
import os
import signal
from pathlib import Path

import pytest

from unit.launcher.alone import check
from vllm_multinode.launcher.deaths import SCAN, Deaths, engine_processes, stopped
from vllm_multinode.launcher.plan import Process
from vllm_multinode.launcher.proc import descendants
from vllm_multinode.launcher.processes import Engine, adopt_orphans
from vllm_multinode.launcher.reaper import Reaper

WORKER = "VLLM::Worker_PP1"


def engine(script: str) -> Engine:
    reaper = Reaper()
    reaper.start(asyncio.get_running_loop())
    adopt_orphans()
    process = Process(name="vllm", argv=("bash", "-c", script))
    return Engine((process,), os.environ, frozenset(), reaper)


async def started(title: str) -> int:
    async with asyncio.timeout(10):
        while not (found := [pid for pid, name in engine_processes().items() if title.endswith(name)]):
            await asyncio.sleep(0.02)
    return found[0]


@pytest.mark.parametrize(
    ("title", "says", "reason"),
    [
        pytest.param(WORKER, "echo fine", f"{WORKER} (process {{}}) died", id="without-a-word"),
        pytest.param(
            WORKER,
            "echo RuntimeError: CUDA error: an illegal memory access",
            f"{WORKER} (process {{}}) died: RuntimeError: CUDA error: an illegal memory access",
            id="with-its-reason",
        ),
        pytest.param(
            "ray::RayWorkerProc", "echo fine", "ray::RayWorkerProc (process {}) died", id="an-actor-of-ray"
        ),
        pytest.param(
            "/opt/ray/core/src/ray/raylet/raylet", "echo fine", "raylet (process {}) died", id="a-raylet"
        ),
    ],
)
def test_a_process_that_dies_inside_the_engine_ends_it(
    tmp_path: Path, title: str, says: str, reason: str
) -> None:
    async def scenario() -> None:
        found = engine(f"{says}; (exec -a {title} sleep 60) & sleep 60")
        found.start()
        pid = await started(title)
        # Known to the watcher before it dies.
        await asyncio.sleep(SCAN + 0.2)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert await asyncio.shield(found.ended) == reason.format(pid)
        await found.kill()

    check(scenario, tmp_path)


def test_children_that_go_with_a_killed_parent_are_not_blamed(tmp_path: Path) -> None:
    async def scenario() -> None:
        found = engine(f"(exec -a {WORKER} sleep 60) & sleep 60")
        found.start()
        pid = await started(WORKER)
        await asyncio.sleep(SCAN + 0.2)
        os.kill(pid, signal.SIGKILL)
        os.kill(found.running[0].pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert await asyncio.shield(found.ended) == "vllm was killed by SIGKILL"
        await found.kill()

    check(scenario, tmp_path)


def test_a_death_is_noticed_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        found = engine(f"(exec -a {WORKER} sleep 60) & sleep 60")
        found.start()
        pid = await started(WORKER)
        await asyncio.sleep(SCAN + 0.2)
        # From here on no look will find out within the test.
        monkeypatch.setattr("vllm_multinode.launcher.deaths.SCAN", 600)
        await asyncio.sleep(SCAN + 0.2)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert await asyncio.shield(found.ended) == f"{WORKER} (process {pid}) died"
        await found.kill()

    check(scenario, tmp_path)


def test_of_stopped_processes_the_engines_own_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        found = engine(f"sleep 60 & (exec -a {WORKER} sleep 60) & sleep 60")
        found.start()
        pid = await started(WORKER)
        for one in descendants(os.getpid()):
            os.kill(one, signal.SIGSTOP)
        async with asyncio.timeout(10):
            assert await stopped(1) == f"{WORKER} (process {pid}) is stopped (SIGSTOP)"
        await found.kill()

    check(scenario, tmp_path)


def test_other_processes_come_and_go(tmp_path: Path) -> None:
    async def scenario() -> None:
        found = engine("for n in 1 2 3 4; do (exec -a ray::IDLE sleep 0.2); done; exec sleep 60")
        found.start()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(found.ended), 1.5)
        await found.kill()

    check(scenario, tmp_path)


def test_a_kill_for_memory_is_told_from_others(tmp_path: Path) -> None:
    events = tmp_path / "sys/fs/cgroup/memory.events"
    events.parent.mkdir(parents=True)
    events.write_text("oom_kill 1\n")
    (events.parent / "memory.max").write_text(f"{3 * 1024**3}\n")
    deaths = Deaths(tmp_path)
    assert deaths.for_memory() == ""
    events.write_text("oom_kill 2\n")
    assert deaths.for_memory() == (
        "killed by the kernel because the container's memory limit of 3.0 GiB was reached"
    )

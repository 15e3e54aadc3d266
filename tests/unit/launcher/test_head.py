import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from unit.launcher.alone import Alone
from unit.launcher.launching import Launcher, until
from unit.launcher.pods import identity
from vllm_multinode.checkpoint.model_directory import read_model
from vllm_multinode.launcher.identity import installed_versions
from vllm_multinode.launcher.messages import (
    EngineExited,
    EngineStopped,
    FromHead,
    Hello,
    Leaving,
    Start,
    Stop,
    Welcome,
    from_head,
)
from vllm_multinode.launcher.settings import GroupName


async def serving(launcher: Launcher, alone: Alone, epoch: int = 1) -> None:
    def serves() -> bool:
        status = launcher.status()
        return (status.get("state"), status.get("epoch")) == ("serving", epoch)

    await until(serves, alone)


def stop(alone: Alone) -> None:
    alone.send_signal(signal.SIGTERM)
    assert alone.wait() == 0, alone.output()
    assert alone.left() == []


class TestOneNode:
    async def test_it_serves_alone_and_leaves_nothing_behind(
        self, launcher: Launcher, tmp_path: Path
    ) -> None:
        (tmp_path / "token").write_text("s3cret")
        token = {"MULTINODE_TOKEN_FILE": str(tmp_path / "token")}
        with launcher.run("head", "--seed", "1", "--api-key", "s3cret", **token) as alone:
            await serving(launcher, alone)
            for path in ("/live", "/startup", "/ready"):
                assert launcher.get(path)[0] == 200
            code, status = launcher.get("/status")
            assert (code, "s3cret" in status) == (200, False)
            metrics = {
                one.name: one.samples[0].value
                for one in text_string_to_metric_families(launcher.get("/metrics")[1])
            }
            assert (metrics["multinode_ready"], metrics["multinode_recoveries"]) == (1, 0)
            assert len(alone.left()) == 2
            stop(alone)
            log = alone.stderr.read_text()
            assert log.count("starting vllm: vllm serve") == 1
            assert "--seed 1 --api-key '***'" in log
            assert "s3cret" not in log
            assert "Traceback" not in log
            assert f"stand-in: serve {launcher.model}" in alone.stdout.read_text()
        assert not launcher.termination_log.exists()
        assert launcher.get("/live")[0] == 0

    async def test_an_engine_that_exits_at_once_is_given_up_after_three_times(
        self, launcher: Launcher
    ) -> None:
        with launcher.run("head", STAND_IN="exit") as alone:
            assert alone.wait() == 50, alone.output()
            assert alone.left() == []
            assert alone.stdout.read_text().count("stand-in: serve") == 3
            line = (
                "multinode: the engine failed to start 3 times: head: vllm exited with status 1: "
                "RuntimeError: no room for the KV cache (exit code 50)\n"
            )
            assert alone.stderr.read_text().endswith(line)
            assert launcher.termination_log.read_text() == line
            assert "Traceback" not in alone.output()

    async def test_a_hung_engine_is_started_again(self, launcher: Launcher, tmp_path: Path) -> None:
        hung = {"STAND_IN_HUNG": str(tmp_path / "hung"), "MULTINODE_HANG_TIMEOUT": "1"}
        with launcher.run("head", STAND_IN="hang-once", **hung) as alone:
            await serving(launcher, alone, epoch=2)
            status = launcher.status()
            assert status["recoveries"] == 1
            assert status["last_incident"].startswith("hung: 1 requests under way")
            stop(alone)

    async def test_a_killed_engine_is_started_again(self, launcher: Launcher) -> None:
        with launcher.run("head") as alone:
            await serving(launcher, alone)
            for pid in direct_children(alone.pid):
                os.kill(pid, signal.SIGKILL)
            await serving(launcher, alone, epoch=2)
            assert launcher.status()["last_incident"].startswith("head: vllm was killed by SIGKILL")
            # The first engine's detached process is gone with it.
            assert len(alone.left()) == 2
            stop(alone)

    async def test_a_stopped_process_of_the_engine_is_hung(self, launcher: Launcher) -> None:
        with launcher.run("head", MULTINODE_HEARTBEAT_TIMEOUT="0.5") as alone:
            await serving(launcher, alone)
            for pid in direct_children(alone.pid):
                os.kill(pid, signal.SIGSTOP)
            await serving(launcher, alone, epoch=2)
            assert "is stopped (SIGSTOP)" in launcher.status()["last_incident"]
            stop(alone)


def direct_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Worker:
    """A worker that the test plays."""

    def __init__(self, link: aiohttp.ClientWebSocketResponse) -> None:
        self.link = link

    async def say(self, message: Hello | EngineStopped | EngineExited | Leaving) -> None:
        await self.link.send_str(message.model_dump_json())

    async def hears(self, kind: type[FromHead], timeout: float = 5) -> FromHead:
        """The next message of that kind; heartbeats and what else comes are passed over."""
        async with asyncio.timeout(timeout):
            while True:
                said = from_head.validate_json(await self.link.receive_str())
                if isinstance(said, kind):
                    return said


class Group:
    """A head process and the means to join it."""

    def __init__(self, launcher: Launcher, alone: Alone, session: aiohttp.ClientSession) -> None:
        self.launcher, self.alone, self.session = launcher, alone, session
        self.fingerprint = read_model(launcher.model).fingerprint

    async def join(self, pod: str) -> Worker:
        url = f"http://127.0.0.1:{self.launcher.supervisor}/group"
        worker = Worker(await self.session.ws_connect(url))
        told = identity(
            pod,
            accelerator="cpu",
            versions=installed_versions(),
            model_dir=str(self.launcher.model),
            fingerprint=self.fingerprint,
        )
        await worker.say(Hello(identity=told, group=GroupName(service="llm", generation="3")))
        await worker.hears(Welcome)
        return worker

    async def serving(self, epoch: int) -> None:
        await serving(self.launcher, self.alone, epoch)


@asynccontextmanager
async def group(launcher: Launcher, nodes: int, **changes: str) -> AsyncIterator[Group]:
    sizes = {"RAY_NODE_COUNT": str(nodes), "PIPELINE_PARALLEL_SIZE": str(nodes)}
    with launcher.run("head", MULTINODE_HEARTBEAT_TIMEOUT="30", **sizes, **changes) as alone:
        async with aiohttp.ClientSession() as session:
            await until(lambda: launcher.status().get("state") == "forming", alone)
            yield Group(launcher, alone, session)


class TestGroup:
    async def test_a_lost_worker_is_replaced_in_place(self, launcher: Launcher) -> None:
        async with group(launcher, nodes=2) as found:
            assert launcher.status()["reason"] == "1 of 2"
            worker = await found.join("a")
            start = await worker.hears(Start)
            assert isinstance(start, Start)
            assert (start.epoch, start.plan.model_dir) == (1, launcher.model)
            await found.serving(epoch=1)
            assert launcher.get("/ready")[0] == 200
            await worker.link.close()
            await until(lambda: launcher.get("/ready")[0] == 503, found.alone)
            assert "its connection ended" in launcher.status()["last_incident"]
            replaced = await found.join("b")
            start = await replaced.hears(Start)
            assert isinstance(start, Start)
            assert start.epoch == 2
            await found.serving(epoch=2)
            assert [one["name"] for one in launcher.status()["members"]] == ["head", "b"]
            stop_soon = asyncio.create_task(replaced.hears(Stop))
            found.alone.send_signal(signal.SIGTERM)
            await stop_soon
            await replaced.say(EngineStopped(epoch=2))
            assert await asyncio.to_thread(found.alone.wait) == 0
            assert found.alone.left() == []

    async def test_an_engine_that_ended_on_a_worker_stops_the_others_first(self, launcher: Launcher) -> None:
        async with group(launcher, nodes=2) as found:
            worker = await found.join("a")
            await found.serving(epoch=1)
            await worker.say(EngineExited(epoch=1, reason="ray exited with status 1"))
            await worker.hears(Stop)
            # Nothing starts before the worker has confirmed.
            assert launcher.status()["state"] == "recovering"
            await worker.say(EngineStopped(epoch=1))
            await worker.hears(Start)
            await found.serving(epoch=2)
            assert launcher.status()["last_incident"] == "a: ray exited with status 1"

    async def test_workers_that_are_lost_together_cost_one_recovery(self, launcher: Launcher) -> None:
        # They come back while the head still waits before it starts again.
        async with group(launcher, nodes=3, MULTINODE_BACKOFF="0.3") as found:
            for epoch in (1, 2):
                workers = [await found.join("a"), await found.join("b")]
                await found.serving(epoch)
                await asyncio.gather(*(worker.link.close() for worker in workers))
            workers = [await found.join("a"), await found.join("b")]
            await found.serving(epoch=3)
            assert launcher.status()["recoveries"] == 2

    async def test_a_worker_that_leaves_is_waited_out(self, launcher: Launcher) -> None:
        async with group(launcher, nodes=2) as found:
            worker = await found.join("a")
            await found.serving(epoch=1)
            await worker.say(Leaving(reason="asked to stop"))
            await worker.hears(Stop)
            await worker.say(EngineStopped(epoch=1))
            # It still holds its connection, and yet the group does not start with it.
            with pytest.raises(TimeoutError):
                await worker.hears(Start, timeout=0.3)
            await worker.link.close()
            replaced = await found.join("b")
            await found.serving(epoch=2)
            assert not replaced.link.closed
            assert launcher.status()["reason"] == ""

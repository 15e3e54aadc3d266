import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from certificates import Authority
from unit.launcher.alone import Alone
from unit.launcher.launching import Launcher, until
from unit.launcher.members import Pod, connect
from unit.launcher.pods import identity
from vllm_multinode.checkpoint.model_directory import read_model
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.identity import installed_versions
from vllm_multinode.launcher.messages import (
    Claim,
    EngineExited,
    EngineStopped,
    GivesUp,
    Hello,
    Leaving,
    Refused,
    Start,
    Stop,
    Welcome,
)
from vllm_multinode.launcher.settings import GroupName

NAME = GroupName(service="llm", generation="3")


async def serving(launcher: Launcher, alone: Alone, epoch: int = 1) -> None:
    def serves() -> bool:
        status = launcher.status()
        return (status.get("state"), status.get("epoch")) == ("serving", epoch)

    await until(serves, alone)


def stop(alone: Alone) -> None:
    alone.send_signal(signal.SIGTERM)
    assert alone.wait() == 0, alone.output()
    assert alone.left() == []


def mutual_tls(folder: Path) -> list[str]:
    """Options of an engine that asks clients for a certificate; its supervisor presents the engine's own."""
    authority = Authority(folder)
    own = authority.issue("llm")
    return [
        *("--ssl-certfile", own.file, "--ssl-keyfile", str(own.key)),
        *("--ssl-ca-certs", str(authority.file), "--ssl-cert-reqs", "2"),
    ]


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
            assert metrics["multinode_authenticated"] == 1
            assert launcher.status()["authentication"] == "token"
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

    async def test_without_a_token_log_status_and_metrics_say_so(self, launcher: Launcher) -> None:
        with launcher.run("head") as alone:
            await serving(launcher, alone)
            assert launcher.status()["authentication"] == "none"
            assert "\nmultinode_authenticated 0" in launcher.get("/metrics")[1].replace("0.0", "0")
            stop(alone)
            assert "WARNING no token: whoever reaches port" in alone.stderr.read_text()

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

    async def test_an_engine_that_refuses_its_arguments_is_not_started_again(
        self, launcher: Launcher
    ) -> None:
        with launcher.run("head", "--sed", "1", STAND_IN="refuse") as alone:
            assert alone.wait() == 13, alone.output()
            assert alone.left() == []
            assert alone.stdout.read_text().count("stand-in: serve") == 1
            line = (
                "multinode: head: vllm exited with status 2: error: unrecognized arguments: --sed 1. "
                "(exit code 13)\n"
            )
            assert launcher.termination_log.read_text() == line

    async def test_a_hung_engine_is_started_again(self, launcher: Launcher, tmp_path: Path) -> None:
        hung = {"STAND_IN_HUNG": str(tmp_path / "hung"), "MULTINODE_HANG_TIMEOUT": "1"}
        with launcher.run("head", STAND_IN="hang-once", **hung) as alone:
            await serving(launcher, alone, epoch=2)
            status = launcher.status()
            assert status["recoveries"] == 1
            assert status["last_incident"].startswith("hung: 1 requests under way")
            stop(alone)

    async def test_behind_mutual_tls_a_canary_tells_a_count_that_leaks_from_a_hang(
        self, launcher: Launcher, tmp_path: Path
    ) -> None:
        options = mutual_tls(tmp_path)
        hang = {"MULTINODE_HANG_TIMEOUT": "1", "STAND_IN_HUNG": str(tmp_path / "hung")}
        with launcher.run("head", *options, STAND_IN="leak", **hang) as alone:
            await serving(launcher, alone)
            await until(lambda: "asked for /v1/completions" in alone.stdout.read_text(), alone)
            status = launcher.status()
            assert (status["state"], status["recoveries"]) == ("serving", 0)
            stop(alone)
        with launcher.run("head", *options, STAND_IN="hang-once", **hang) as alone:
            await serving(launcher, alone, epoch=2)
            assert launcher.status()["last_incident"].startswith("hung: 1 requests under way")
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

    async def test_a_weight_file_that_was_truncated_meanwhile_is_named(self, launcher: Launcher) -> None:
        with launcher.run("head") as alone:
            await serving(launcher, alone)
            file = min(launcher.model.glob("*.safetensors"))
            os.truncate(file, file.stat().st_size - 1)
            for pid in direct_children(alone.pid):
                os.kill(pid, signal.SIGKILL)
            assert alone.wait(60) == 22, alone.output()
            assert alone.left() == []
            # The engine was not asked to find out.
            assert alone.stdout.read_text().count("stand-in: serve") == 1
            assert file.name in launcher.termination_log.read_text()

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


class Group:
    """A head process and the means to join it."""

    def __init__(self, launcher: Launcher, alone: Alone, session: aiohttp.ClientSession) -> None:
        self.launcher, self.alone, self.session = launcher, alone, session
        self.fingerprint = read_model(launcher.model).fingerprint

    async def join(self, pod: str, **changes: Any) -> Pod:
        worker = await self.hello(pod, **changes)
        await worker.hears(Welcome)
        return worker

    async def hello(self, pod: str, **changes: Any) -> Pod:
        base = f"http://127.0.0.1:{self.launcher.supervisor}"
        worker = await connect(self.session, base, claim=Claim(pod=pod, group=NAME))
        told: dict[str, Any] = {
            "accelerator": "cpu",
            "versions": installed_versions(),
            "model_dir": str(self.launcher.model),
            "fingerprint": self.fingerprint,
        }
        await worker.send(Hello(identity=identity(pod, **(told | changes)), group=NAME))
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
            assert launcher.status()["reason"] == "1 of 2 nodes; missing: rank 1"
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
            await replaced.send(EngineStopped(epoch=2))
            assert await asyncio.to_thread(found.alone.wait) == 0
            assert found.alone.left() == []

    async def test_two_workers_that_are_lost_at_once_are_both_named(self, launcher: Launcher) -> None:
        async with group(launcher, nodes=3) as found:
            workers = [await found.join(pod) for pod in ("a", "b")]
            await found.serving(epoch=1)
            await asyncio.gather(*(worker.link.close() for worker in workers))
            await until(lambda: "lost b" in launcher.status()["reason"], found.alone)
            said = launcher.status()["last_incident"]
            assert "lost a: its connection ended" in said
            assert "lost b: its connection ended" in said
            await until(
                lambda: "missing: rank 1 (last a), rank 2 (last b)" in launcher.status()["reason"],
                found.alone,
            )
            stop(found.alone)

    async def test_a_worker_that_never_returns_ends_the_head(self, launcher: Launcher) -> None:
        async with group(launcher, nodes=2, MULTINODE_MEMBER_TIMEOUT="1") as found:
            worker = await found.join("a")
            await found.serving(epoch=1)
            await worker.link.close()
            assert await asyncio.to_thread(found.alone.wait) == ExitCode.MEMBERS_MISSING
            said = launcher.termination_log.read_text()
            assert "1 of 2 nodes for 1 s; missing: rank 1 (last a)" in said
            assert found.alone.left() == []

    async def test_a_drain_for_a_worker_goes_on_when_the_head_is_asked_to_stop(
        self, launcher: Launcher
    ) -> None:
        busy = {"STAND_IN": "hang-once", "STAND_IN_HUNG": str(launcher.folder / "hung")}
        async with group(launcher, nodes=2, MULTINODE_DRAIN_TIMEOUT="600", **busy) as found:
            worker = await found.join("a")
            await found.serving(epoch=1)
            await worker.send(Leaving(reason="asked to stop"))
            await until(lambda: "a is leaving" in launcher.status()["reason"], found.alone)
            found.alone.send_signal(signal.SIGTERM)
            await until(lambda: launcher.status()["state"] == "draining", found.alone)
            # A request is under way, and there is time for it.
            await asyncio.sleep(1)
            assert launcher.status()["state"] == "draining"
            # Without the worker it will never be answered.
            await worker.link.close()
            assert await asyncio.to_thread(found.alone.wait) == 0
            assert found.alone.left() == []

    async def test_a_model_that_has_changed_in_place_is_read_again(self, launcher: Launcher) -> None:
        async with group(launcher, nodes=3) as found:
            stale = await found.join("a")
            (launcher.model / "generation_config.json").write_text("{}")
            config = json.loads((launcher.model / "config.json").read_text())
            (launcher.model / "config.json").write_text(json.dumps(config | {"vocab_size": 7}))
            now = read_model(launcher.model).fingerprint
            assert now != found.fingerprint
            refused = await (await found.hello("b", fingerprint=now)).hears(Refused)
            assert isinstance(refused, Refused)
            assert refused.code is ExitCode.MODELS_DIFFER
            # Who has read the earlier one starts over, and reads it again.
            assert isinstance(await stale.hears(Refused), Refused)
            workers = [await found.join(pod, fingerprint=now) for pod in ("a", "b")]
            await found.serving(epoch=1)
            await asyncio.gather(*(worker.link.close() for worker in workers))
            stop(found.alone)

    async def test_an_engine_that_ended_on_a_worker_stops_the_others_first(self, launcher: Launcher) -> None:
        async with group(launcher, nodes=2) as found:
            worker = await found.join("a")
            await found.serving(epoch=1)
            await worker.send(EngineExited(epoch=1, reason="ray exited with status 1"))
            await worker.hears(Stop)
            # Nothing starts before the worker has confirmed.
            assert launcher.status()["state"] == "recovering"
            await worker.send(EngineStopped(epoch=1))
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
            await worker.send(Leaving(reason="asked to stop"))
            await worker.hears(Stop)
            await worker.send(EngineStopped(epoch=1))
            # It is a member no longer, and the group does not start with it.
            assert await worker.ended()
            replaced = await found.join("b")
            await found.serving(epoch=2)
            assert not replaced.link.closed
            assert launcher.status()["reason"] == ""

    async def test_a_worker_with_other_gpus_is_refused_and_the_head_lives_on(
        self, launcher: Launcher
    ) -> None:
        async with group(launcher, nodes=2) as found:
            refused = await (await found.hello("a", gpus=2)).hears(Refused)
            assert isinstance(refused, Refused)
            assert "head head has 1 accelerators and worker a has 2" in refused.what
            await until(lambda: "worker a has 2" in launcher.status()["reason"], found.alone)
            worker = await found.join("b")
            await found.serving(epoch=1)
            assert launcher.status()["recoveries"] == 0
            assert not worker.link.closed

    async def test_what_a_worker_finds_wrong_is_the_heads_last_word(self, launcher: Launcher) -> None:
        async with group(launcher, nodes=2, MULTINODE_START_ATTEMPTS="2") as found:
            for _ in range(2):
                worker = await found.join("a")
                start = await worker.hears(Start)
                assert isinstance(start, Start)
                await worker.send(GivesUp(epoch=start.epoch, reason="--config x.yaml: no such file."))
                await worker.link.close()
            assert await asyncio.to_thread(found.alone.wait) == 50
        assert (
            "failed to start 2 times: a: --config x.yaml: no such file."
            in launcher.termination_log.read_text()
        )

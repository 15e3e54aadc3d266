import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from unit.launcher.pods import identity, plan, settings_of
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.model import Frozen
from vllm_multinode.launcher import rendezvous
from vllm_multinode.launcher.group import Group
from vllm_multinode.launcher.messages import (
    Beat,
    EngineExited,
    EngineStopped,
    FromHead,
    Hello,
    Leaving,
    Refused,
    Start,
    Stop,
    Welcome,
    from_head,
)
from vllm_multinode.launcher.rendezvous import Exited, Joined, Left, Lost, Rendezvous
from vllm_multinode.launcher.settings import GroupName, Settings
from vllm_multinode.launcher.states import State, Status

NAME = GroupName(namespace="ns", service="llm", generation="3")
T = TypeVar("T", bound=Frozen)


class World:
    """A head's rendezvous behind a real socket."""

    def __init__(self, settings: Settings, nodes: int) -> None:
        assert settings.sizes is not None
        sizes = settings.sizes.model_copy(update={"nodes": nodes})
        self.status = Status()
        self.group = Group(head=identity(), nodes=nodes, executor="ray", name=settings.group)
        self.closed: str | None = None
        self.rendezvous = Rendezvous(settings, sizes, self.group, self.status, lambda: self.closed)
        self.client: TestClient[Any, Any]

    async def connect(self, token: str | bytes | None = None) -> "Pod":
        said = token.decode("utf-8", "surrogateescape") if isinstance(token, bytes) else token
        headers = {} if said is None else {"Authorization": f"Bearer {said}"}
        return Pod(await self.client.ws_connect(rendezvous.PATH, headers=headers))

    async def join(self, pod: str, **hello: Any) -> "Pod":
        found = await self.connect()
        await found.send(Hello(identity=identity(pod), group=NAME, **hello))
        return found

    async def joined(self, pod: str) -> "Pod":
        found = await self.join(pod)
        await found.expect(Welcome)
        assert await self.event() == Joined(pod)
        return found

    async def event(self, timeout: float = 3) -> rendezvous.Event:
        async with asyncio.timeout(timeout):
            return await self.rendezvous.events.get()


class Pod:
    """A worker's end of the connection."""

    def __init__(self, link: aiohttp.ClientWebSocketResponse) -> None:
        self.link = link

    async def send(self, message: Frozen) -> None:
        await self.link.send_str(message.model_dump_json())

    async def receive(self) -> FromHead:
        return from_head.validate_json(await self.link.receive_str(timeout=3))

    async def expect(self, kind: type[T]) -> T:
        said = await self.receive()
        assert isinstance(said, kind)
        return said

    async def ended(self) -> bool:
        return (await self.link.receive(timeout=3)).type in (
            aiohttp.WSMsgType.CLOSE,
            aiohttp.WSMsgType.CLOSED,
            aiohttp.WSMsgType.ERROR,
        )


@asynccontextmanager
async def opened(nodes: int = 3, **changes: str) -> AsyncIterator[World]:
    found = World(settings_of("head", MULTINODE_HEARTBEAT_TIMEOUT="0.5", **changes), nodes)
    app = web.Application()
    app.router.add_get(rendezvous.PATH, found.rendezvous.handle)
    async with TestClient(TestServer(app), timeout=aiohttp.ClientTimeout(total=5)) as found.client:
        yield found
        await found.rendezvous.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with opened() as found:
        yield found


@asynccontextmanager
async def beating(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.rendezvous.beat())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not condition():
            await asyncio.sleep(0.01)


class TestJoining:
    async def test_a_worker_is_welcomed_with_all_it_needs(self, world: World) -> None:
        world.group.next_epoch()
        first, second = await world.join("a"), await world.join("b")
        welcome = await first.expect(Welcome)
        assert welcome.model_dump(exclude={"rank"}) == {
            "type": "welcome",
            "head": "head",
            "epoch": 1,
            "sizes": {"tensor_parallel": 1, "pipeline_parallel": 2, "nodes": 3},
            "heartbeat_timeout": 0.5,
        }
        assert {welcome.rank, (await second.expect(Welcome)).rank} == {1, 2}
        assert {await world.event(), await world.event()} == {Joined("a"), Joined("b")}
        assert world.group.complete

    async def test_more_than_there_are_places_for_may_try_again(self, world: World) -> None:
        await world.joined("a")
        await world.joined("b")
        refused = await (await world.join("c")).expect(Refused)
        assert (refused.final, refused.what) == (False, "all 3 places are taken")
        world.rendezvous.lose("a", "test")
        assert (await (await world.join("c")).expect(Welcome)).rank == 1

    async def test_a_head_that_drains_takes_nobody_for_now(self, world: World) -> None:
        world.closed = "the head is draining"
        refused = await (await world.join("a")).expect(Refused)
        assert (refused.final, refused.what) == (False, "the head is draining")

    async def test_the_same_pod_anew_takes_the_place_of_its_former_self(self, world: World) -> None:
        former = await world.joined("a")
        anew = await world.join("a")
        assert (await anew.expect(Welcome)).rank == 1
        assert [await world.event(), await world.event()] == [Lost("a", "it joined anew"), Joined("a")]
        assert await former.ended()
        # The end of the former connection is not the end of the new one.
        await anew.send(Leaving(reason="asked to stop"))
        assert await world.event() == Left("a", "asked to stop")
        assert list(world.group.members) == ["a"]

    async def test_another_model_is_final_and_shown_on_the_head(self, world: World) -> None:
        pod = await world.connect()
        await pod.send(Hello(identity=identity("a", fingerprint="0"), group=NAME))
        refused = await pod.expect(Refused)
        assert (refused.final, refused.code) == (True, ExitCode.MODELS_DIFFER)
        assert "model directories differ" in world.rendezvous.last_refusal
        assert await pod.ended()

    async def test_another_generation_is_not_final(self, world: World) -> None:
        await world.joined("a")
        pod = await world.connect()
        await pod.send(Hello(identity=identity("b"), group=NAME.model_copy(update={"generation": "4"})))
        refused = await pod.expect(Refused)
        assert (refused.final, refused.code) == (False, ExitCode.GROUP)

    @pytest.mark.parametrize(
        "hello",
        [
            pytest.param("hello?", id="no-json"),
            pytest.param("{}", id="no-type"),
            pytest.param(Beat(epoch=1, state="x").model_dump_json(), id="not-a-hello"),
            pytest.param(b"\x00\x01", id="binary"),
            pytest.param(
                Hello(identity=identity("a"), group=NAME, protocol=99).model_dump_json(), id="protocol"
            ),
        ],
    )
    async def test_garbage_is_refused(self, world: World, hello: str | bytes) -> None:
        pod = await world.connect()
        await (pod.link.send_bytes(hello) if isinstance(hello, bytes) else pod.link.send_str(hello))
        refused = await pod.expect(Refused)
        assert (refused.final, refused.code) == (True, ExitCode.VERSIONS_DIFFER)
        assert not world.group.members

    async def test_a_hello_that_never_comes_holds_nothing(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rendezvous, "_HELLO_TIMEOUT", 0.05)
        refused = await (await world.connect()).expect(Refused)
        assert "does not speak this head's protocol" in refused.what


class TestToken:
    @pytest.fixture
    async def guarded(self, tmp_path: Path) -> AsyncIterator[World]:
        (tmp_path / "token").write_text("s3cret")
        async with opened(MULTINODE_TOKEN_FILE=str(tmp_path / "token")) as found:
            yield found

    async def test_the_right_one(self, guarded: World) -> None:
        pod = await guarded.connect("s3cret")
        await pod.send(Hello(identity=identity("a"), group=NAME))
        await pod.expect(Welcome)

    @pytest.mark.parametrize(
        ("token", "words"),
        [
            pytest.param(None, "presents no token", id="missing"),
            pytest.param("other", "presents another token than the head's", id="wrong"),
            pytest.param("s3crets", "presents another token than the head's", id="longer"),
            pytest.param(b"\xff\xfe", "presents another token than the head's", id="bytes"),
        ],
    )
    async def test_others_are_refused_before_anything_is_read(
        self, guarded: World, token: str | bytes | None, words: str
    ) -> None:
        refused = await (await guarded.connect(token)).expect(Refused)
        assert (refused.final, refused.code) == (True, ExitCode.TOKEN)
        assert words in refused.what
        assert "s3cret" not in refused.model_dump_json()

    async def test_one_that_the_head_does_not_have(self, world: World) -> None:
        refused = await (await world.connect("s3cret")).expect(Refused)
        assert (refused.code, refused.what) == (
            ExitCode.TOKEN,
            "127.0.0.1 presents a token and the head has none.",
        )


class TestLosing:
    async def test_an_ended_connection_is_known_at_once(self, world: World) -> None:
        pod = await world.joined("a")
        await pod.link.close()
        # Not by its silence, which takes the time-out.
        assert await world.event() == Lost("a", "its connection ended")

    async def test_silence_is_known_after_the_time_out(self, world: World) -> None:
        async with beating(world):
            silent, alive = await world.joined("a"), await world.joined("b")
            while world.rendezvous.events.empty():
                await alive.send(Beat(epoch=0, state="forming"))
                await asyncio.sleep(0.05)
            lost = await world.event()
            assert isinstance(lost, Lost)
            assert lost.pod == "a"
            assert "no heartbeat for 0." in lost.reason
            assert list(world.group.members) == ["b"]
            while not await silent.ended():
                pass

    async def test_heartbeats_carry_the_groups_state(self, world: World) -> None:
        world.status.set(State.RECOVERING, "lost b")
        pod = await world.joined("a")
        async with beating(world):
            assert await pod.expect(Beat) == Beat(epoch=0, state="recovering", reason="lost b")
            assert await pod.expect(Beat) == Beat(epoch=0, state="recovering", reason="lost b")

    async def test_a_head_that_was_frozen_itself_loses_nobody(self, world: World) -> None:
        async with beating(world):
            await world.joined("a")
            await world.joined("b")
            # Nothing turns for longer than the time-out, as when the head's pod is frozen and thawed.
            time.sleep(0.7)  # noqa: ASYNC251
            await until(lambda: world.rendezvous.beats_late > 0)
            assert world.rendezvous.events.empty()
            assert set(world.group.members) == {"a", "b"}

    async def test_a_message_that_nobody_understands_ends_the_membership(self, world: World) -> None:
        pod = await world.joined("a")
        await pod.link.send_str('{"type": "from the future"}')
        assert await world.event() == Lost("a", "its connection ended")


class TestEngines:
    async def test_an_engine_that_ended_is_an_event_of_its_epoch_only(self, world: World) -> None:
        pod = await world.joined("a")
        world.group.next_epoch()
        world.group.next_epoch()
        await pod.send(EngineExited(epoch=1, reason="old"))
        await pod.send(EngineExited(epoch=2, reason="new"))
        assert await world.event() == Exited("a", 2, "new")

    async def test_start_reaches_every_member(self, world: World) -> None:
        pods = [await world.joined("a"), await world.joined("b")]
        await world.rendezvous.broadcast(Start(epoch=1, plan=plan()))
        for pod in pods:
            assert await pod.expect(Start) == Start(epoch=1, plan=plan())

    async def test_stopping_waits_for_every_confirmation(self, world: World) -> None:
        pods = [await world.joined("a"), await world.joined("b")]
        world.group.next_epoch()
        stopping = asyncio.create_task(world.rendezvous.stop_engines(1, "lost c", timeout=3))
        for pod in pods:
            assert await pod.expect(Stop) == Stop(epoch=1, reason="lost c")
        await pods[0].send(EngineStopped(epoch=1))
        # One of an older epoch says nothing about this one.
        await pods[1].send(EngineStopped(epoch=0))
        await until(lambda: world.group.members["a"].stopped_epoch == 1)
        assert not stopping.done()
        await pods[1].send(EngineStopped(epoch=1))
        await asyncio.wait_for(stopping, 1)
        assert set(world.group.members) == {"a", "b"}

    async def test_who_does_not_confirm_is_lost(self, world: World) -> None:
        pods = [await world.joined("a"), await world.joined("b")]
        world.group.next_epoch()
        stopping = asyncio.create_task(world.rendezvous.stop_engines(1, "lost c", timeout=0.2))
        await pods[0].send(EngineStopped(epoch=1))
        await asyncio.wait_for(stopping, 2)
        assert list(world.group.members) == ["a"]
        assert await world.event() == Lost("b", "its engine did not stop within 0 s")

    async def test_who_is_lost_meanwhile_is_not_waited_for(self, world: World) -> None:
        pod = await world.joined("a")
        world.group.next_epoch()
        stopping = asyncio.create_task(world.rendezvous.stop_engines(1, "x", timeout=30))
        await pod.expect(Stop)
        await pod.link.close()
        await asyncio.wait_for(stopping, 2)

    async def test_a_member_that_leaves_no_longer_completes_the_group(self, world: World) -> None:
        pod = await world.joined("a")
        await world.joined("b")
        assert world.group.complete
        await pod.send(Leaving(reason="asked to stop"))
        assert await world.event() == Left("a", "asked to stop")
        assert not world.group.complete


async def test_what_happened_before_can_be_forgotten(world: World) -> None:
    await world.joined("a")
    world.rendezvous.lose("a", "test")
    world.rendezvous.forget_events()
    assert world.rendezvous.events.empty()

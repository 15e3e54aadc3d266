import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from unit.launcher import members
from unit.launcher.members import NAME, Pod
from unit.launcher.pods import identity, plan, settings_of
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher import entrance, handshake
from vllm_multinode.launcher.connections import Connections
from vllm_multinode.launcher.events import Event, Exited, Joined, Left, Lost
from vllm_multinode.launcher.group import Group
from vllm_multinode.launcher.handshake import WorkersSide
from vllm_multinode.launcher.messages import (
    Beat,
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
from vllm_multinode.launcher.rendezvous import Rendezvous
from vllm_multinode.launcher.settings import Settings, Sizes
from vllm_multinode.launcher.states import State, Status

TOKEN = "s3cret"
CLAIM = Claim(pod="a", group=NAME)
SIZES = Sizes(tensor_parallel=4, pipeline_parallel=4, nodes=3)


class World:
    """A head's rendezvous behind a real socket."""

    def __init__(self, settings: Settings, nodes: int) -> None:
        sizes = Sizes(tensor_parallel=1, pipeline_parallel=nodes, nodes=nodes)
        self.status = Status()
        self.group = Group(head=identity(), sizes=sizes, executor="ray", told=settings.group)
        self.closed: str | None = None
        self.connections = Connections()
        self.rendezvous = Rendezvous(settings, self.group, self.status, self.connections, lambda: self.closed)
        self.client: TestClient[Any, Any]

    async def connect(self, pod: str = "a", token: str | None = None) -> Pod:
        return await members.connect(self.client, token=token, claim=Claim(pod=pod, group=NAME))

    async def join(self, pod: str, instance: str = "", **hello: Any) -> Pod:
        found = await self.connect(pod)
        await found.send(Hello(identity=identity(pod, instance=instance), group=NAME, **hello))
        return found

    async def joined(self, pod: str, instance: str = "") -> Pod:
        found = await self.join(pod, instance)
        await found.expect(Welcome)
        assert await self.event() == Joined(pod)
        return found

    async def event(self, timeout: float = 3) -> Event:
        async with asyncio.timeout(timeout):
            return await self.rendezvous.events.get()


@asynccontextmanager
async def opened(nodes: int = 3, **changes: str) -> AsyncIterator[World]:
    found = World(settings_of("head", MULTINODE_HEARTBEAT_TIMEOUT="0.5", **changes), nodes)
    app = web.Application()
    app.router.add_get(handshake.PATH, found.rendezvous.handle)
    app.router.add_get(handshake.CHALLENGE_PATH, found.rendezvous.challenge)
    async with TestClient(TestServer(app), timeout=aiohttp.ClientTimeout(total=60)) as found.client:
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


async def _lives(_: web.Request) -> web.Response:
    return web.Response(text="serving")


class TestJoining:
    async def test_a_worker_is_welcomed_with_all_it_needs(self, world: World) -> None:
        world.group.next_epoch()
        first, second = await world.join("a"), await world.join("b")
        welcome = await first.expect(Welcome)
        assert welcome.model_dump(exclude={"rank"}) == {
            "type": "welcome",
            "head": "head",
            "epoch": 1,
            "sizes": {"tensor_parallel": 1, "pipeline_parallel": 3, "nodes": 3},
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

    async def test_a_living_member_is_not_put_out_by_another_of_its_name(self, world: World) -> None:
        living = await world.joined("a", instance="1")
        refused = await (await world.join("a", instance="2")).expect(Refused)
        assert refused.final is False
        assert refused.what == "a is a member already, from 10.0.0.1, and is alive; this one is at 10.0.0.1"
        await living.send(Leaving(reason="asked to stop"))
        assert await world.event() == Lost("a", "it is leaving: asked to stop")

    async def test_the_same_process_takes_its_own_place_over(self, world: World) -> None:
        former = await world.joined("a", instance="1")
        again = await world.join("a", instance="1")
        assert (await again.expect(Welcome)).rank == 1
        assert [await world.event(), await world.event()] == [Lost("a", "it joined again"), Joined("a")]
        assert await former.ended()
        # The end of the former connection is not the end of the new one.
        world.group.next_epoch()
        await again.send(Leaving(reason="asked to stop"))
        assert await world.event() == Left("a", "asked to stop")
        assert list(world.group.members) == ["a"]

    async def test_who_is_refused_puts_nobody_out(self, world: World) -> None:
        living = await world.joined("a", instance="1")
        for hello in (
            Hello(identity=identity("a", instance="1", fingerprint="0"), group=NAME),
            Hello(identity=identity("a", instance="1", accelerator="rocm"), group=NAME),
            Hello(identity=identity("a", instance="1"), group=NAME, sizes=SIZES),
        ):
            pod = await world.connect()
            await pod.send(hello)
            await pod.expect(Refused)
        await living.send(Beat(epoch=0, state="alive"))
        await until(lambda: world.group.members["a"].state == "alive")

    async def test_who_claims_to_be_another_than_he_says_is_refused(self, world: World) -> None:
        pod = await world.connect("b")
        await pod.send(Hello(identity=identity("a"), group=NAME))
        assert "claims to be b and then another" in (await pod.expect(Refused)).what

    async def test_the_member_with_too_few_accelerators_goes(self) -> None:
        async with opened(nodes=3) as world:
            world.group.sizes = Sizes(tensor_parallel=2, pipeline_parallel=3, nodes=3)
            world.group.head = identity(gpus=2)
            first = await world.joined("a")
            pod = await world.connect("b")
            await pod.send(Hello(identity=identity("b", gpus=2), group=NAME))
            refused = await first.expect(Refused)
            assert (refused.final, refused.code) == (True, ExitCode.SIZES)
            assert (await pod.expect(Refused)).final is False
            assert not world.group.members

    async def test_another_model_is_final_and_shown_on_the_head(self, world: World) -> None:
        pod = await world.connect()
        await pod.send(Hello(identity=identity("a", fingerprint="0"), group=NAME))
        refused = await pod.expect(Refused)
        assert (refused.final, refused.code) == (True, ExitCode.MODELS_DIFFER)
        assert "model directories differ" in world.rendezvous.refusals.last
        assert await pod.ended()

    async def test_another_generation_is_not_final(self, world: World) -> None:
        await world.joined("a")
        other = NAME.model_copy(update={"generation": "4"})
        headers = WorkersSide(None, Claim(pod="b", group=other), "").headers()
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await world.client.ws_connect(handshake.PATH, headers=headers)
        refused = handshake.refusal_in(error.value.headers or {})
        assert refused is not None
        assert (refused.final, refused.code) == (False, ExitCode.GROUP)
        assert "worker b belongs to generation 4, not 3" in world.rendezvous.refusals.last

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
        monkeypatch.setattr(entrance, "_HELLO_TIMEOUT", 0.05)
        refused = await (await world.connect()).expect(Refused)
        assert "does not speak this head's protocol" in refused.what


class TestToken:
    @pytest.fixture
    async def guarded(self, tmp_path: Path) -> AsyncIterator[World]:
        (tmp_path / "token").write_text(TOKEN)
        async with opened(MULTINODE_TOKEN_FILE=str(tmp_path / "token")) as found:
            yield found

    @staticmethod
    async def refusal(world: World, headers: dict[str, str]) -> Refused:
        """The reason of a WebSocket that did not open."""
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await world.client.ws_connect(handshake.PATH, headers=headers)
        assert error.value.status == 401
        found = handshake.refusal_in(error.value.headers or {})
        assert found is not None
        assert TOKEN not in found.model_dump_json()
        assert not world.group.members
        return found

    async def test_the_right_one(self, guarded: World) -> None:
        pod = await guarded.connect(token=TOKEN)
        await pod.send(Hello(identity=identity("a"), group=NAME))
        await pod.expect(Welcome)
        await pod.send(Beat(epoch=0, state="alive"))
        await until(lambda: guarded.group.members["a"].state == "alive")

    async def test_it_is_never_on_the_wire(self, guarded: World) -> None:
        said = await members.challenge(guarded.client)
        headers = WorkersSide(TOKEN, CLAIM, said).headers()
        assert TOKEN not in f"{said}{headers}"

    @pytest.mark.parametrize(
        ("token", "words"),
        [
            pytest.param(None, "worker a (127.0.0.1) presents no token.", id="missing"),
            pytest.param("other", "presents another token than the head's.", id="wrong"),
            pytest.param("s3crets", "presents another token than the head's.", id="longer"),
        ],
    )
    async def test_others_are_refused_before_the_socket_opens(
        self, guarded: World, token: str | None, words: str
    ) -> None:
        said = await members.challenge(guarded.client)
        refused = await self.refusal(guarded, WorkersSide(token, CLAIM, said).headers())
        assert (refused.final, refused.code) == (True, ExitCode.TOKEN)
        assert words in refused.what
        assert words in guarded.rendezvous.refusals.last

    async def test_one_that_the_head_does_not_have(self, world: World) -> None:
        refused = await self.refusal(world, WorkersSide(TOKEN, CLAIM, "x").headers())
        assert refused.what == "worker a (127.0.0.1) presents a token and the head has none."

    async def test_a_proof_is_good_once(self, guarded: World) -> None:
        headers = WorkersSide(TOKEN, CLAIM, await members.challenge(guarded.client)).headers()
        await guarded.client.ws_connect(handshake.PATH, headers=headers)
        assert "was answered" in (await self.refusal(guarded, headers)).what

    @pytest.mark.parametrize(
        "changed",
        [
            pytest.param({handshake.NONCE: "0"}, id="nonce"),
            pytest.param({handshake.WORKER: Claim(pod="b", group=NAME).model_dump_json()}, id="pod"),
            pytest.param({handshake.CHALLENGE: "x.y.z"}, id="challenge"),
            pytest.param({handshake.PROOF: "\udcff\udcfe"}, id="bytes"),
            pytest.param({handshake.WORKER: "{"}, id="no-claim"),
            pytest.param({handshake.WORKER: ""}, id="empty-claim"),
        ],
    )
    async def test_what_is_changed_on_the_way_is_refused(
        self, guarded: World, changed: dict[str, str]
    ) -> None:
        headers = WorkersSide(TOKEN, CLAIM, await members.challenge(guarded.client)).headers()
        await self.refusal(guarded, headers | changed)

    async def test_the_heads_own_proof_is_no_workers(self, guarded: World) -> None:
        pod = await guarded.connect(token=TOKEN)
        answer = pod.link._response.headers
        headers = WorkersSide(TOKEN, CLAIM, await members.challenge(guarded.client)).headers()
        await self.refusal(guarded, headers | {handshake.PROOF: answer[handshake.PROOF]})

    @pytest.mark.parametrize(
        "frame",
        [
            pytest.param(Beat(epoch=0, state="x").model_dump_json(), id="unsealed"),
            pytest.param("0" * 32 + Beat(epoch=0, state="x").model_dump_json(), id="wrong-tag"),
            pytest.param("", id="empty"),
        ],
    )
    async def test_a_message_from_somebody_in_between_ends_the_connection(
        self, guarded: World, frame: str
    ) -> None:
        pod = await guarded.connect(token=TOKEN)
        await pod.send(Hello(identity=identity("a"), group=NAME))
        await pod.expect(Welcome)
        assert await guarded.event() == Joined("a")
        await pod.link.send_str(frame)
        assert await guarded.event() == Lost("a", "its connection ended")

    async def test_a_message_cannot_be_sent_twice(self, guarded: World) -> None:
        pod = await guarded.connect(token=TOKEN)
        await pod.send(Hello(identity=identity("a"), group=NAME))
        await pod.expect(Welcome)
        assert await guarded.event() == Joined("a")
        frame = pod.outgoing.close(Beat(epoch=0, state="x").model_dump_json())
        await pod.link.send_str(frame)
        await until(lambda: guarded.group.members["a"].state == "x")
        await pod.link.send_str(frame)
        assert await guarded.event() == Lost("a", "its connection ended")

    async def test_strangers_cannot_fill_the_log(
        self, guarded: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        for number in range(50):
            claim = Claim(pod=f"stranger-{number}", group=NAME)
            await self.refusal(guarded, WorkersSide(None, claim, "").headers())
        assert guarded.rendezvous.refusals.total == 50
        assert 1 <= len([one for one in caplog.records if "refused" in one.message]) < 10
        assert guarded.rendezvous.events.qsize() < 10


class TestLosing:
    async def test_an_ended_connection_is_known_at_once(self, world: World) -> None:
        pod = await world.joined("a")
        await pod.link.close()
        # Not by its silence, which takes the timeout.
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
            assert await silent.ended()

    async def test_a_late_member_that_answers_another_way_has_twice_the_time(self) -> None:
        app = web.Application()
        app.router.add_get("/live", _lives)
        async with TestServer(app) as server, opened(MULTINODE_SUPERVISOR_PORT=str(server.port)) as world:
            late = await world.connect("a")
            await late.send(Hello(identity=identity("a", address="127.0.0.1"), group=NAME))
            assert await world.event() == Joined("a")
            async with beating(world):
                lost = await world.event(timeout=10)
            assert isinstance(lost, Lost)
            assert "no heartbeat for 0." not in lost.reason

    async def test_a_link_that_ends_after_a_silence_is_no_killed_pod(self, world: World) -> None:
        silent = await world.joined("a")
        await asyncio.sleep(0.3)
        await silent.link.close()
        lost = await world.event()
        assert isinstance(lost, Lost)
        assert "no heartbeat for 0." in lost.reason
        assert "then its connection ended" in lost.reason

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
            # Nothing turns for longer than the timeout, as when the head's pod is frozen and thawed.
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
        world.group.next_epoch()
        await pod.send(Leaving(reason="asked to stop"))
        assert await world.event() == Left("a", "asked to stop")
        assert not world.group.complete

    async def test_its_place_is_taken_while_it_waits_and_it_goes_with_its_engine(self, world: World) -> None:
        leaving = await world.joined("a")
        await world.joined("b")
        world.group.next_epoch()
        await leaving.send(Leaving(reason="asked to stop"))
        assert await world.event() == Left("a", "asked to stop")
        replacement = await world.join("c")
        assert (await replacement.expect(Welcome)).rank == 1
        assert world.group.complete
        await leaving.send(EngineStopped(epoch=1))
        world.group.members["b"].stopped_epoch = 1
        await asyncio.wait_for(world.rendezvous.stop_engines(1, "x", timeout=3), 2)
        assert set(world.group.members) == {"b", "c"}

    async def test_what_is_said_again_adds_nothing(self, world: World) -> None:
        pod = await world.joined("a")
        world.group.next_epoch()
        for _ in range(1000):
            await pod.send(EngineExited(epoch=1, reason="x" * 900))
            await pod.send(Leaving(reason="x"))
        await pod.send(Beat(epoch=1, state="done"))
        await until(lambda: world.group.members["a"].state == "done")
        assert world.rendezvous.events.qsize() == 2

    async def test_events_that_nobody_takes_are_bounded(self, world: World) -> None:
        for _ in range(200):
            world.group.admit(identity("a"), NAME, now=0)
            world.rendezvous.lose("a", "test")
        assert world.rendezvous.events.qsize() <= 64 + 4 * 3

    async def test_a_worker_that_gives_up_says_so_in_its_own_words(self, world: World) -> None:
        pod = await world.joined("a")
        world.group.next_epoch()
        await pod.send(GivesUp(epoch=1, reason="--config x.yaml: the file cannot be read."))
        assert await world.event() == Exited("a", 1, "--config x.yaml: the file cannot be read.")
        assert world.rendezvous.refusals.last == "worker a: --config x.yaml: the file cannot be read."

    async def test_strings_of_a_member_are_short_and_print(self, world: World) -> None:
        pod = await world.joined("a")
        await pod.link.send_str('{"type":"beat","epoch":0,"state":"\\u001b[2J' + "x" * 5000 + '"}')
        await until(lambda: world.group.members["a"].state.startswith("?[2J"))
        assert len(world.group.members["a"].state) <= 253

    async def test_a_message_that_is_too_long_ends_the_membership(self, world: World) -> None:
        pod = await world.joined("a")
        await pod.link.send_str('{"type":"beat","epoch":0,"state":"' + "x" * 100_000 + '"}')
        assert await world.event() == Lost("a", "its connection ended")


async def test_what_happened_before_can_be_forgotten(world: World) -> None:
    await world.joined("a")
    world.rendezvous.lose("a", "test")
    world.rendezvous.events.forget()
    assert world.rendezvous.events.empty()

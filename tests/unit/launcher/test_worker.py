import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import pytest
from aiohttp import WSMsgType, web

from unit.launcher.alone import Alone
from unit.launcher.launching import Launcher, until
from unit.launcher.pods import plan
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher import handshake
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
    from_worker,
)
from vllm_multinode.launcher.proof import Seal, Transcript
from vllm_multinode.launcher.settings import GroupName, Sizes

T = TypeVar("T", bound=Frozen)
WELCOME = Welcome(
    head="head",
    epoch=0,
    rank=1,
    sizes=Sizes(tensor_parallel=1, pipeline_parallel=2, nodes=2),
    heartbeat_timeout=30,
)


class Link:
    """The head's end of one connection."""

    def __init__(self, socket: web.WebSocketResponse, incoming: Seal, outgoing: Seal) -> None:
        self.socket = socket
        self.incoming, self.outgoing = incoming, outgoing

    async def say(self, message: Frozen) -> None:
        await self.socket.send_str(self.outgoing.close(message.model_dump_json()))

    async def hears(self, kind: type[T], timeout: float = 60) -> T:
        """The next message of that kind; heartbeats and what else comes are passed over."""
        async with asyncio.timeout(timeout):
            while True:
                said = from_worker.validate_json(self.incoming.open(await self.socket.receive_str()))
                if isinstance(said, kind):
                    return said

    async def refuse(self, refused: Refused) -> None:
        await self.say(refused)
        await self.socket.close()

    async def ended(self) -> None:
        async with asyncio.timeout(60):
            while (await self.socket.receive()).type is WSMsgType.TEXT:
                pass


class Head:
    """A head that the test plays.

    Args:
        token: that it knows.
    """

    def __init__(self, token: str | None = None) -> None:
        self.links: asyncio.Queue[Link] = asyncio.Queue()
        self.token = token
        self.seen: list[str] = []
        self.answers: dict[str, str] = {}
        self.given: dict[str, str] = {}
        self.over = asyncio.Event()
        self.lives = False
        self.asked_another_way = asyncio.Event()

    async def live(self, _: web.Request) -> web.Response:
        self.asked_another_way.set()
        return web.Response(status=200 if self.lives else 404)

    async def challenge(self, request: web.Request) -> web.Response:
        self.seen.append(str(request.headers))
        return web.Response(text="a challenge")

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        self.seen.append(str(request.headers))
        said = Transcript(
            nonce=request.headers[handshake.NONCE],
            challenge=request.headers[handshake.CHALLENGE],
            worker=request.headers[handshake.WORKER],
            head=Claim(pod="head", group=GroupName()).model_dump_json(),
        )
        proof = {} if self.token is None else {handshake.PROOF: said.heads_proof(self.token)}
        socket = web.WebSocketResponse(timeout=1)
        self.given = {handshake.HEAD: said.head, **proof, **self.answers}
        socket.headers.update(self.given)
        await socket.prepare(request)
        self.links.put_nowait(Link(socket, *said.seals(self.token)))
        await self.over.wait()
        return socket

    async def link(self) -> Link:
        async with asyncio.timeout(60):
            return await self.links.get()

    async def joined(self) -> Link:
        found = await self.link()
        await found.hears(Hello)
        await found.say(WELCOME)
        return found


@pytest.fixture
async def head(launcher: Launcher) -> AsyncIterator[Head]:
    found = Head()
    app = web.Application()
    app.router.add_get(handshake.PATH, found.handle)
    app.router.add_get(handshake.CHALLENGE_PATH, found.challenge)
    app.router.add_get("/live", found.live)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", launcher.supervisor).start()
    yield found
    found.over.set()
    await runner.cleanup()


@asynccontextmanager
async def worker(launcher: Launcher, **changes: str | None) -> AsyncIterator[Alone]:
    told: dict[str, str | None] = {
        "HEAD_SVC": "127.0.0.1",
        "TENSOR_PARALLEL_SIZE": None,
        "PIPELINE_PARALLEL_SIZE": None,
        "RAY_NODE_COUNT": "2",
    }
    launcher.play_head = True
    with launcher.run("worker", **(told | changes)) as alone:
        yield alone


def start(launcher: Launcher, epoch: int) -> Start:
    return Start(
        epoch=epoch, plan=plan(accelerator="cpu", model_dir=launcher.model, head_address="127.0.0.1")
    )


async def running(alone: Alone, processes: int) -> None:
    await until(lambda: len(alone.left()) == processes, alone)


async def exited(alone: Alone) -> int:
    return await asyncio.to_thread(alone.wait)


@pytest.fixture
def guarded(launcher: Launcher) -> dict[str, str]:
    (launcher.folder / "token").write_text("s3cret")
    return {"MULTINODE_TOKEN_FILE": str(launcher.folder / "token")}


async def test_it_says_who_it_is_once_the_head_has_proven_itself(
    launcher: Launcher, head: Head, guarded: dict[str, str]
) -> None:
    head.token = "s3cret"
    async with worker(launcher, HEAD_SVC="localhost", **guarded):
        hello = await (await head.link()).hears(Hello)
    assert not any("s3cret" in headers for headers in head.seen)
    assert (hello.identity.pod, hello.identity.gpus, hello.identity.accelerator) == ("worker", 1, "cpu")
    assert hello.identity.model_dir == str(launcher.model)
    assert (hello.group.service, hello.group.generation) == ("llm", None)


@pytest.mark.parametrize(
    ("token", "answers", "words"),
    [
        pytest.param("other", {}, "presents another token than this worker's", id="another-token"),
        pytest.param(None, {}, "presents no token", id="says-that-there-is-no-token"),
        pytest.param("reflect", {}, "presents another token than this worker's", id="the-workers-own-proof"),
    ],
)
async def test_nothing_that_an_impostor_says_is_obeyed(
    launcher: Launcher,
    head: Head,
    guarded: dict[str, str],
    token: str | None,
    answers: dict[str, str],
    words: str,
) -> None:
    head.token, head.answers = token, answers
    async with worker(launcher, **guarded) as alone:
        for _ in range(5):
            link = await head.link()
            # It may have gone before everything is said.
            with suppress(ConnectionError):
                await link.say(WELCOME)
                await link.say(start(launcher, epoch=1))
        assert await exited(alone) == ExitCode.TOKEN
        assert "starting vllm" not in alone.stderr.read_text()
    assert words in launcher.termination_log.read_text()
    assert "s3cret" not in alone.output()


async def test_what_is_slipped_into_a_proven_connection_is_not_obeyed(
    launcher: Launcher, head: Head, guarded: dict[str, str]
) -> None:
    head.token = "s3cret"
    async with worker(launcher, **guarded) as alone:
        link = await head.joined()
        await link.socket.send_str(start(launcher, epoch=1).model_dump_json())
        await head.joined()
        assert "somebody may be in between" in alone.stderr.read_text()
        assert "starting vllm" not in alone.stderr.read_text()


async def test_a_heads_answer_of_before_is_not_believed_again(
    launcher: Launcher, head: Head, guarded: dict[str, str]
) -> None:
    head.token = "s3cret"
    async with worker(launcher, **guarded) as alone:
        link = await head.link()
        await link.hears(Hello)
        welcome, plan_said = (
            link.outgoing.close(message.model_dump_json()) for message in (WELCOME, start(launcher, epoch=1))
        )
        await link.socket.send_str(welcome)
        # From now on somebody answers who has recorded all of that, and does not know the token.
        head.answers = head.given
        await link.socket.close()
        for _ in range(5):
            later = await head.link()
            with suppress(ConnectionError):
                await later.socket.send_str(welcome)
                await later.socket.send_str(plan_said)
        assert await exited(alone) == ExitCode.TOKEN
        assert "starting vllm" not in alone.stderr.read_text()
    assert "presents another token than this worker's" in launcher.termination_log.read_text()


async def test_its_own_words_are_not_obeyed_when_they_come_back(
    launcher: Launcher, head: Head, guarded: dict[str, str]
) -> None:
    head.token = "s3cret"
    async with worker(launcher, **guarded) as alone:
        link = await head.link()
        await link.socket.send_str(await link.socket.receive_str())
        await head.joined()
        assert "somebody may be in between" in alone.stderr.read_text()


async def test_what_it_finds_wrong_after_joining_is_said_to_the_head(launcher: Launcher, head: Head) -> None:
    plan_of_head = start(launcher, epoch=3)
    changed = plan_of_head.plan.model_copy(update={"arguments": ("--config", "/nowhere/x.yaml")})
    async with worker(launcher) as alone:
        link = await head.joined()
        await link.say(plan_of_head.model_copy(update={"plan": changed}))
        said = await link.hears(GivesUp)
        assert said.epoch == 3
        assert "/nowhere/x.yaml" in said.reason
        assert await exited(alone) == ExitCode.ARGUMENTS


async def test_it_runs_its_share_until_it_is_told_to_stop(launcher: Launcher, head: Head) -> None:
    async with worker(launcher) as alone:
        link = await head.joined()
        await link.say(start(launcher, epoch=1))
        await running(alone, 2)
        output = alone.stdout.read_text()
        assert "--nnodes 2 --node-rank 1" in output
        assert "--headless" in output
        await link.say(Beat(epoch=1, state="serving"))
        await link.say(Stop(epoch=1, reason="lost c"))
        assert (await link.hears(EngineStopped)).epoch == 1
        assert alone.left() == []
        assert "state: serving" in alone.stderr.read_text()
        await link.say(start(launcher, epoch=2))
        await running(alone, 2)


async def test_it_writes_the_stacks_of_an_engine_that_hangs_before_it_stops_it(
    launcher: Launcher, head: Head
) -> None:
    async with worker(launcher) as alone:
        link = await head.joined()
        await link.say(start(launcher, epoch=1))
        await running(alone, 2)
        await link.say(Stop(epoch=1, reason="hung: 1 requests under way", stacks=True))
        assert (await link.hears(EngineStopped)).epoch == 1
        assert alone.left() == []
        assert "stacks of the engine's processes follow" in alone.stderr.read_text()


async def test_an_engine_that_ends_is_reported_with_its_epoch(launcher: Launcher, head: Head) -> None:
    async with worker(launcher, STAND_IN="exit"):
        link = await head.joined()
        await link.say(start(launcher, epoch=4))
        told = await link.hears(EngineExited)
    assert told.epoch == 4
    assert told.reason == "vllm exited with status 1: RuntimeError: no room for the KV cache"


async def test_an_engine_that_refuses_its_arguments_is_the_workers_last_word(
    launcher: Launcher, head: Head
) -> None:
    async with worker(launcher, STAND_IN="refuse", MULTINODE_DRAIN_TIMEOUT="0") as alone:
        link = await head.joined()
        await link.say(start(launcher, epoch=4))
        told = await link.hears(GivesUp)
        assert await asyncio.to_thread(alone.wait) == ExitCode.ARGUMENTS, alone.output()
    assert told.epoch == 4
    assert "vllm exited with status 2: error: unrecognized arguments: --sed 1" in told.reason
    assert told.reason in launcher.termination_log.read_text()


async def test_a_start_of_an_older_epoch_changes_nothing(launcher: Launcher, head: Head) -> None:
    async with worker(launcher) as alone:
        link = await head.joined()
        await link.say(start(launcher, epoch=2))
        await running(alone, 2)
        before = alone.left()
        await link.say(start(launcher, epoch=1))
        await until(lambda: "refused to start epoch 1" in alone.stderr.read_text(), alone)
        assert alone.left() == before


async def test_without_its_head_it_stops_the_engine_and_joins_anew(launcher: Launcher, head: Head) -> None:
    async with worker(launcher) as alone:
        link = await head.joined()
        await link.say(start(launcher, epoch=1))
        await running(alone, 2)
        await link.socket.close()
        await head.joined()
        assert alone.left() == []


async def test_a_silent_head_is_left_after_the_time_out(launcher: Launcher, head: Head) -> None:
    async with worker(launcher, MULTINODE_HEARTBEAT_TIMEOUT="0.5") as alone:
        first = await head.link()
        await first.hears(Hello)
        await first.say(WELCOME.model_copy(update={"heartbeat_timeout": 0.5}))
        await first.ended()
        await head.joined()
        assert "no heartbeat for 0." in alone.stderr.read_text()


async def test_a_late_head_that_answers_another_way_is_not_left(launcher: Launcher, head: Head) -> None:
    head.lives = True
    async with worker(launcher) as alone:
        link = await head.link()
        await link.hears(Hello)
        await link.say(WELCOME.model_copy(update={"heartbeat_timeout": 2}))
        async with asyncio.timeout(60):
            await head.asked_another_way.wait()
        # Past the timeout, and well before twice of it.
        await asyncio.sleep(1.5)
        await link.say(start(launcher, epoch=1))
        await running(alone, 2)
        assert head.links.empty()


async def test_a_refusal_that_may_pass_is_asked_again(launcher: Launcher, head: Head) -> None:
    async with worker(launcher) as alone:
        link = await head.link()
        await link.refuse(Refused(code=ExitCode.GROUP, what="all 2 places are taken", final=False))
        await head.joined()
        assert "all 2 places are taken" in alone.stderr.read_text()


async def test_a_final_refusal_ends_it_with_the_heads_words(launcher: Launcher, head: Head) -> None:
    async with worker(launcher) as alone:
        link = await head.link()
        await link.refuse(Refused(code=ExitCode.MODELS_DIFFER, what="models differ.", hint="Mount the same."))
        assert await exited(alone) == ExitCode.MODELS_DIFFER
    line = "multinode: rejected by the head: models differ. Mount the same. (exit code 41)\n"
    assert launcher.termination_log.read_text() == line
    assert alone.stderr.read_text().endswith(line)


async def test_asked_to_stop_it_lets_the_head_drain_first(launcher: Launcher, head: Head) -> None:
    async with worker(launcher) as alone:
        link = await head.joined()
        await link.say(start(launcher, epoch=1))
        await running(alone, 2)
        alone.send_signal(signal.SIGTERM)
        assert (await link.hears(Leaving)).reason == "asked to stop"
        assert len(alone.left()) == 2
        await link.say(Stop(epoch=1, reason="w is leaving"))
        assert await exited(alone) == 0
        assert alone.left() == []


async def test_a_head_that_does_not_release_it_is_not_waited_for_for_ever(
    launcher: Launcher, head: Head
) -> None:
    async with worker(launcher) as alone:
        link = await head.joined()
        await link.say(start(launcher, epoch=1))
        await running(alone, 2)
        alone.send_signal(signal.SIGTERM)
        assert await exited(alone) == 0
        assert alone.left() == []
        assert "did not release this worker in time" in alone.stderr.read_text()


async def test_asked_to_stop_while_it_waits_for_its_head(launcher: Launcher) -> None:
    async with worker(launcher) as alone:
        await until(lambda: "state: forming" in alone.stderr.read_text(), alone)
        alone.send_signal(signal.SIGTERM)
        assert await exited(alone) == 0

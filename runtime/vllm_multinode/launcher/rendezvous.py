"""The head's side of membership: one WebSocket a worker, heartbeats both ways."""

import asyncio
import logging
from collections.abc import Callable

from aiohttp import WSMsgType, web
from pydantic import ValidationError

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.connections import Connections
from vllm_multinode.launcher.entrance import Entrance, refusal
from vllm_multinode.launcher.events import Events, Exited, Joined, Left, Lost
from vllm_multinode.launcher.group import FullError, Group, Member, ShortError
from vllm_multinode.launcher.messages import (
    Beat,
    EngineExited,
    EngineStopped,
    GivesUp,
    Hello,
    Leaving,
    Probe,
    Refused,
    Report,
    Stop,
    Welcome,
    WireReady,
    WireResult,
    from_worker,
)
from vllm_multinode.launcher.peer import Peer
from vllm_multinode.launcher.proof import SealError
from vllm_multinode.launcher.refusals import Refusals
from vllm_multinode.launcher.second_way import SecondWay, hasten
from vllm_multinode.launcher.settings import Settings, heartbeat_interval
from vllm_multinode.launcher.states import Status
from vllm_multinode.launcher.wire_check import WireCheck

__all__ = ["Rendezvous"]

log = logging.getLogger(__name__)


class Rendezvous:
    """Admits workers, watches over them, and turns what happens into events.

    Args:
        settings: of the head.
        group: who belongs to it; changed here only.
        status: the head's, sent with every heartbeat.
        connections: of the head's port; a member's is exempt from what bounds the others.
        rejects: says why nobody may join at present, or None.
    """

    def __init__(
        self,
        settings: Settings,
        group: Group,
        status: Status,
        connections: Connections,
        refuses: Callable[[], str | None],
    ) -> None:
        self._settings = settings
        self._status = status
        self._refuses = refuses
        self._open = connections
        self._connections: dict[str, Peer] = {}
        self._ways: dict[str, SecondWay] = {}
        self._stopped = asyncio.Event()
        self._last_words: set[asyncio.Task[None]] = set()
        self.group = group
        self.events = Events(group.nodes)
        self.refusals = Refusals(self.events, _now)
        self._entrance = Entrance(settings, group, self.refusals, _now)
        self.challenge = self._entrance.challenge
        self.beats_late = 0
        self.wire = WireCheck(group, self.broadcast, self.send_to)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One worker's connection, from its proof to its end."""
        let_in = await self._entrance.let_in(request)
        if isinstance(let_in, web.Response):
            return let_in
        claim, peer = let_in
        with self._entrance.introducing():
            try:
                member = self._admit(await self._entrance.hello(claim, peer))
            except (MultinodeError, FullError) as error:
                await self._refuse(peer, error)
                return peer.socket
        await self._welcomed(member, peer)
        return peer.socket

    async def _welcomed(self, member: Member, connection: Peer) -> None:
        """From its welcome to its end."""
        pod = member.identity.pod
        self._connections[pod] = connection
        self._ways[pod] = SecondWay(member.identity.address, self._settings.ports.supervisor, _now)
        hasten(connection.transport.get_extra_info("socket") if connection.transport else None)
        self._open.keep(connection.transport)
        await connection.send(self._welcome(member))
        log.info(
            "%s joined from %s as rank %d (%d of %d nodes)",
            pod,
            member.identity.address,
            member.rank,
            self.group.present,
            self.group.nodes,
        )
        self.events.tell(Joined(pod))
        try:
            await self._read(pod, connection)
        finally:
            if self._connections.get(pod) is connection:
                self.lose(pod, self._why_ended(member))

    def _why_ended(self, member: Member) -> str:
        """A killed peer's connection ends at once, that of one behind a cut link after a silence."""
        silence = _now() - member.seen
        if silence > 2 * heartbeat_interval(self._settings.timings.heartbeat):
            return f"no heartbeat for {silence:.1f} s, then its connection ended"
        return "its connection ended"

    def _admit(self, hello: Hello) -> Member:
        why = self._refuses()
        if why is not None:
            raise FullError(why)
        pod = hello.identity.pod
        former = self._connections.get(pod)
        try:
            member = self.group.admit(hello.identity, hello.group, _now(), hello.sizes)
        except ShortError as short:
            if short.fewest != pod:
                self._expel(short.fewest, short)
                raise FullError(str(short)) from short
            raise
        if former is not None:
            self._ways.pop(pod).close()
            # The same process, by another connection: the one before is over, and so is its engine.
            former.abort()
            self.events.tell(Lost(pod, "it joined again"))
        return member

    def expel_other_models(self) -> None:
        """Send away who has read another model than the head has now: it starts over, and reads it again."""
        head = self.group.head
        for member in self.group.staying:
            pod, read = member.identity.pod, member.identity.fingerprint
            if read != head.fingerprint:
                what = f"the model in {member.identity.model_dir} has changed since {pod} read it"
                what += f" ({read[:12]} then, {head.fingerprint[:12]} now)."
                hint = "It starts over, and reads it again."
                self._expel(pod, MultinodeError(ExitCode.MODELS_DIFFER, what, hint=hint))

    def _expel(self, pod: str, error: MultinodeError) -> None:
        """Send a member away for good."""
        self.refusals.add(error, proven=True)
        connection = self._connections.get(pod)
        if connection is not None:
            refused = Refused(code=error.code, what=error.what, hint=error.hint)
            last_words = asyncio.create_task(connection.say_and_close(refused.model_dump_json()))
            self._last_words.add(last_words)
            last_words.add_done_callback(self._last_words.discard)
            self._connections.pop(pod)
        self.lose(pod, str(error))

    async def _refuse(self, connection: Peer, error: MultinodeError | FullError) -> None:
        if isinstance(error, FullError):
            refused = Refused(code=ExitCode.GROUP, what=str(error), final=False)
        else:
            refused = refusal(error)
            self.refusals.add(error, proven=self._settings.token is not None)
        await connection.say_and_close(refused.model_dump_json())

    def _welcome(self, member: Member) -> str:
        return Welcome(
            head=self.group.head.pod,
            epoch=self.group.epoch,
            rank=member.rank,
            sizes=self.group.sizes,
            heartbeat_timeout=self._settings.timings.heartbeat,
        ).model_dump_json()

    async def _read(self, pod: str, connection: Peer) -> None:
        async for message in connection.socket:
            # What is left in the buffers of a lost connection says nothing of the one that replaced it.
            if message.type is not WSMsgType.TEXT or self._connections.get(pod) is not connection:
                return
            try:
                said = from_worker.validate_json(connection.incoming.open(message.data))
            except (ValidationError, SealError):
                log.warning("%s sent what this head does not understand", pod)
                return
            self.group.heard(pod, _now())
            self._take(pod, said)

    def _take(self, pod: str, said: object) -> None:
        member = self.group.members[pod]
        if isinstance(said, Beat):
            member.state = said.state
        elif isinstance(said, Report):
            member.report = said
            member.round_trips.append(max(0.0, _now() - said.sent))
        elif isinstance(said, WireReady | WireResult):
            self.wire.said(pod, said)
        elif isinstance(said, EngineStopped):
            member.stopped_epoch = max(member.stopped_epoch, min(said.epoch, self.group.epoch))
            self._stopped.set()
        elif isinstance(said, EngineExited | GivesUp):
            self._engine_ended(member, said)
        elif isinstance(said, Leaving) and not member.leaving:
            member.leaving = True
            if member.stopped_epoch >= self.group.epoch:
                self.lose(pod, f"it is leaving: {said.reason}")
            else:
                self.events.tell(Left(pod, said.reason))

    def _engine_ended(self, member: Member, said: EngineExited | GivesUp) -> None:
        """Once an epoch: what a member says again adds nothing."""
        pod = member.identity.pod
        if isinstance(said, GivesUp) and not member.gave_up:
            member.gave_up = True
            words = f"worker {pod}: {said.reason}"
            log.error("%s", words)
            self.refusals.remember(words)
        if said.epoch != self.group.epoch:
            log.debug("%s speaks of epoch %d; now is %d", pod, said.epoch, self.group.epoch)
        elif member.exited_epoch < said.epoch:
            member.exited_epoch = said.epoch
            self.events.tell(Exited(pod, said.epoch, said.reason))

    def lose(self, pod: str, reason: str) -> None:
        """Forget a member and end its connection."""
        member = self.group.remove(pod)
        connection = self._connections.pop(pod, None)
        if connection is not None:
            connection.abort()
        if (way := self._ways.pop(pod, None)) is not None:
            way.close()
        if member is not None:
            log.warning("lost %s (rank %d): %s", pod, member.rank, reason)
            self.events.tell(Lost(pod, reason))
            self._stopped.set()
            self.wire.look_again()

    async def beat(self) -> None:
        """Send heartbeats and miss the others', until cancelled."""
        timeout = self._settings.timings.heartbeat
        interval = heartbeat_interval(timeout)
        look = min(interval, 0.25)
        due = due_beat = _now()
        while True:
            now = _now()
            if now - due > timeout / 2:
                # We were frozen ourselves; what the workers sent meanwhile still waits to be read.
                self.beats_late += 1
                self._forgive(now)
            for pod, silence in self._silences(now):
                if self._ways[pod].is_lost(silence, timeout):
                    self.lose(pod, f"no heartbeat for {silence:.1f} s")
            if now >= due_beat:
                await self.announce()
                await self.broadcast(Probe(sent=now))
                due_beat = now + interval
            due = now + look
            await asyncio.sleep(look)

    def _silences(self, now: float) -> list[tuple[str, float]]:
        """Seconds since each member's last heartbeat."""
        members = self.group.members.items()
        return [(pod, now - member.seen) for pod, member in members if pod in self._ways]

    def silent(self) -> list[str]:
        """Members that are late, though not lost yet, and by how much, in words."""
        late = self._settings.timings.heartbeat / 2
        return [
            f"no heartbeat of {pod} for {silence:.1f} s"
            for pod, silence in self._silences(_now())
            if silence > late
        ]

    def _forgive(self, now: float) -> None:
        for pod in self.group.members:
            self.group.heard(pod, now)

    async def announce(self) -> None:
        """Tell every member the group's state."""
        state, reason = self._status.state.value, self._status.reason
        await self.broadcast(Beat(epoch=self.group.epoch, state=state, reason=reason))

    async def broadcast(self, message: Frozen) -> None:
        """Send one message to every member."""
        text = message.model_dump_json()
        for connection in list(self._connections.values()):
            await connection.send(text)

    async def send_to(self, pod: str, message: Frozen) -> None:
        """Send one message to one member, unless it is gone."""
        connection = self._connections.get(pod)
        if connection is not None:
            await connection.send(message.model_dump_json())

    async def stop_engines(self, epoch: int, reason: str, timeout: float, *, stacks: bool = False) -> None:
        """Stop the engine of `epoch` on every member; who does not confirm in time is lost."""
        await self.broadcast(Stop(epoch=epoch, reason=reason, stacks=stacks))
        deadline = _now() + timeout
        while late := [pod for pod, member in self.group.members.items() if member.stopped_epoch < epoch]:
            self._stopped.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._stopped.wait()
            except TimeoutError:
                for pod in late:
                    self.lose(pod, f"its engine did not stop within {timeout:.0f} s")
        for member in [one for one in self.group.members.values() if one.leaving]:
            self.lose(member.identity.pod, "it has left")

    async def close(self) -> None:
        """End every connection."""
        for connection in list(self._connections.values()):
            connection.abort()
        self._connections.clear()
        for way in self._ways.values():
            way.close()
        self._ways.clear()


def _now() -> float:
    return asyncio.get_running_loop().time()

"""The head's side of membership: one WebSocket a worker, heartbeats both ways."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import WSMsgType, web
from pydantic import ValidationError

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.connections import Connections
from vllm_multinode.launcher.group import FullError, Group, Member, ShortError
from vllm_multinode.launcher.handshake import PATH, HeadsSide, refusal_headers
from vllm_multinode.launcher.messages import (
    LONGEST_FROM_WORKER,
    PROTOCOL,
    Beat,
    Claim,
    EngineExited,
    EngineStopped,
    GivesUp,
    Hello,
    Leaving,
    Refused,
    Stop,
    Welcome,
    from_worker,
)
from vllm_multinode.launcher.proof import Challenges, Seal, SealError
from vllm_multinode.launcher.second_way import SecondWay, hasten
from vllm_multinode.launcher.settings import Settings, heartbeat_interval
from vllm_multinode.launcher.states import Status
from vllm_multinode.launcher.text import printable

__all__ = ["PATH", "Declined", "Event", "Exited", "Joined", "Left", "Lost", "Rendezvous"]

log = logging.getLogger(__name__)

_HELLO_TIMEOUT: Final = 5.0
_BACKLOG_BYTES: Final = 32 * 1024
# WebSockets of workers that have not said who they are; each costs some 40 KiB.
_INTRODUCING: Final = 64
_LONGEST_REFUSAL: Final = 1000
# Refusals of peers that have proven nothing: told of at most so often, in seconds.
_REFUSALS_APART: Final = 1.0


@dataclass(frozen=True)
class Joined:
    """A worker became a member."""

    pod: str


@dataclass(frozen=True)
class Lost:
    """A member is gone: its connection ended or fell silent."""

    pod: str
    reason: str


@dataclass(frozen=True)
class Exited:
    """A member's engine ended by itself."""

    pod: str
    epoch: int
    reason: str


@dataclass(frozen=True)
class Left:
    """A member was asked to stop and waits for the drain."""

    pod: str
    reason: str


@dataclass(frozen=True)
class Declined:
    """A worker was refused for a reason that was not heard before."""

    reason: str
    code: ExitCode


Event = Joined | Lost | Exited | Left | Declined


@dataclass
class _Connection:
    """A worker's WebSocket."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    incoming: Seal
    outgoing: Seal

    async def send(self, text: str) -> None:
        """Send, unless the peer has stopped reading: its heartbeats will say so, and nobody else may wait."""
        if self.transport is None or self.transport.get_write_buffer_size() > _BACKLOG_BYTES:
            return
        try:
            await self.socket.send_str(self.outgoing.close(text))
        except ConnectionError:
            log.debug("a message was not sent: the peer is gone")

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Rendezvous:
    """Admits workers, watches over them, and turns what happens into events.

    Args:
        settings: of the head.
        group: who belongs to it; changed here only.
        status: the head's, sent with every heartbeat.
        connections: of the head's port; a member's is exempt from what bounds the others.
        refuses: says why nobody may join at present, or None.
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
        self._connections: dict[str, _Connection] = {}
        self._ways: dict[str, SecondWay] = {}
        self._stopped = asyncio.Event()
        self._refused_at = -_REFUSALS_APART
        claim = Claim(pod=group.head.pod, group=group.told)
        self._handshake = HeadsSide(settings.token, claim, Challenges(_now))
        self.group = group
        # Who is a member now is what counts, so the oldest may go when nobody asks for them.
        self.events: asyncio.Queue[Event] = asyncio.Queue(maxsize=64 + 4 * group.nodes)
        self.last_refusal = ""
        self.refused_total = 0
        self._introducing = 0
        self._last_words: set[asyncio.Task[None]] = set()
        self.beats_late = 0

    async def challenge(self, _: web.Request) -> web.Response:
        """What a worker has to answer before its WebSocket opens."""
        return web.Response(text=self._handshake.challenges.new())

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One worker's connection, from its proof to its end."""
        try:
            claim, said = self._handshake.let_in(request.headers, str(request.remote))
            # Now, because a worker of another group ends the WebSocket once it has read whose it is.
            self.group.check_name(claim.pod, str(request.remote), claim.group)
        except MultinodeError as error:
            self._declined(error, proven=False)
            final = error.code is not ExitCode.GROUP
            refused = Refused(code=error.code, what=error.what, hint=error.hint, final=final)
            return web.Response(status=401, text=f"{error}\n", headers=refusal_headers(refused))
        if self._introducing >= _INTRODUCING + 2 * self.group.nodes:
            return web.Response(status=503, text="too many are asking to join\n")
        socket = web.WebSocketResponse(
            timeout=1, autoping=True, compress=False, max_msg_size=LONGEST_FROM_WORKER
        )
        socket.headers.update(self._handshake.answer(said))
        try:
            await socket.prepare(request)
        except ConnectionError:
            return web.Response(status=400)
        transport = request.transport
        connection = _Connection(
            socket,
            transport if isinstance(transport, asyncio.Transport) else None,
            *said.seals(self._settings.token),
        )
        self._introducing += 1
        try:
            hello = await self._hello(claim, connection, str(request.remote))
            member = self._admit(hello)
        except (MultinodeError, FullError) as error:
            await self._refuse(connection, error)
            return socket
        finally:
            self._introducing -= 1
        await self._welcomed(member, connection)
        return socket

    async def _welcomed(self, member: Member, connection: _Connection) -> None:
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
            len(self.group.staying) + 1,
            self.group.nodes,
        )
        self._tell(Joined(pod))
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

    def _tell(self, event: Event) -> None:
        if self.events.full():
            self.events.get_nowait()
        self.events.put_nowait(event)

    async def _hello(self, claim: Claim, connection: _Connection, peer: str) -> Hello:
        try:
            text = await connection.socket.receive_str(timeout=_HELLO_TIMEOUT)
            hello = from_worker.validate_json(connection.incoming.open(text))
        except (TypeError, TimeoutError, ValidationError, SealError) as error:
            raise MultinodeError(
                ExitCode.VERSIONS_DIFFER,
                f"{peer} does not speak this head's protocol {PROTOCOL}.",
                hint="Run the same image on head and workers.",
            ) from error
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise MultinodeError(ExitCode.VERSIONS_DIFFER, f"{peer} speaks another protocol.")
        if (hello.identity.pod, hello.group) != (claim.pod, claim.group):
            raise MultinodeError(ExitCode.GROUP, f"{peer} claims to be {claim.pod} and then another.")
        return hello

    def _admit(self, hello: Hello) -> Member:
        refusal = self._refuses()
        if refusal is not None:
            raise FullError(refusal)
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
            self._tell(Lost(pod, "it joined again"))
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
        self._declined(error, proven=True)
        connection = self._connections.get(pod)
        if connection is not None:
            refused = Refused(code=error.code, what=error.what, hint=error.hint)
            last_words = asyncio.create_task(self._say_and_close(connection, refused))
            self._last_words.add(last_words)
            last_words.add_done_callback(self._last_words.discard)
            self._connections.pop(pod)
        self.lose(pod, str(error))

    async def _refuse(self, connection: _Connection, error: MultinodeError | FullError) -> None:
        if isinstance(error, FullError):
            refused = Refused(code=ExitCode.GROUP, what=str(error), final=False)
        else:
            # A name that leads to another group's head for a moment is DNS catching up.
            final = error.code is not ExitCode.GROUP
            refused = Refused(code=error.code, what=error.what, hint=error.hint, final=final)
            self._declined(error, proven=self._settings.token is not None)
        await self._say_and_close(connection, refused)

    async def _say_and_close(self, connection: _Connection, refused: Refused) -> None:
        await connection.send(refused.model_dump_json())
        try:
            await connection.socket.close()
        except ConnectionError:
            log.debug("a refused worker did not wait for the reason")

    def _declined(self, error: MultinodeError, *, proven: bool) -> None:
        """Tell of a refusal, each once; strangers cannot make it more than one a second."""
        self.refused_total += 1
        words = printable(str(error), _LONGEST_REFUSAL)
        if words == self.last_refusal or (not proven and _now() - self._refused_at < _REFUSALS_APART):
            return
        self._refused_at = _now()
        self.last_refusal = words
        log.warning("refused: %s", words)
        self._tell(Declined(words, error.code))

    def _welcome(self, member: Member) -> str:
        return Welcome(
            head=self.group.head.pod,
            epoch=self.group.epoch,
            rank=member.rank,
            sizes=self.group.sizes,
            heartbeat_timeout=self._settings.timings.heartbeat,
        ).model_dump_json()

    async def _read(self, pod: str, connection: _Connection) -> None:
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
                self._tell(Left(pod, said.reason))

    def _engine_ended(self, member: Member, said: EngineExited | GivesUp) -> None:
        """Once an epoch: what a member says again adds nothing."""
        pod = member.identity.pod
        if isinstance(said, GivesUp) and not member.gave_up:
            member.gave_up = True
            words = f"worker {pod}: {said.reason}"
            log.error("%s", words)
            self.last_refusal = printable(words, _LONGEST_REFUSAL)
        if said.epoch != self.group.epoch:
            log.debug("%s speaks of epoch %d; now is %d", pod, said.epoch, self.group.epoch)
        elif member.exited_epoch < said.epoch:
            member.exited_epoch = said.epoch
            self._tell(Exited(pod, said.epoch, said.reason))

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
            self._tell(Lost(pod, reason))
            self._stopped.set()

    def lost_besides(self) -> list[str]:
        """Members that were lost since the event that was taken last, in words."""
        waiting = [self.events.get_nowait() for _ in range(self.events.qsize())]
        for event in waiting:
            if not isinstance(event, Lost):
                self.events.put_nowait(event)
        return [f"lost {event.pod}: {event.reason}" for event in waiting if isinstance(event, Lost)]

    def forget_events(self) -> None:
        """Drop what happened so far: who is a member now is what counts."""
        while not self.events.empty():
            self.events.get_nowait()

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

    async def stop_engines(self, epoch: int, reason: str, timeout: float) -> None:
        """Stop the engine of `epoch` on every member; who does not confirm in time is lost."""
        await self.broadcast(Stop(epoch=epoch, reason=reason))
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

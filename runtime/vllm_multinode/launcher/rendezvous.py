"""The head's side of membership: one WebSocket a worker, heartbeats both ways."""

import asyncio
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import WSMsgType, web
from pydantic import ValidationError

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.model import Frozen
from vllm_multinode.launcher.group import FullError, Group, Member
from vllm_multinode.launcher.messages import (
    PROTOCOL,
    Beat,
    EngineExited,
    EngineStopped,
    Hello,
    Leaving,
    Refused,
    Stop,
    Welcome,
    from_worker,
)
from vllm_multinode.launcher.settings import Settings, Sizes, heartbeat_interval
from vllm_multinode.launcher.states import Status

log = logging.getLogger(__name__)

PATH: Final = "/group"
_HELLO_TIMEOUT: Final = 5.0
_BACKLOG_BYTES: Final = 32 * 1024


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


Event = Joined | Lost | Exited | Left | Declined


@dataclass
class _Connection:
    """A member's WebSocket."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport | None

    async def send(self, text: str) -> None:
        """Send, unless the peer has stopped reading: its heartbeats will say so, and nobody else may wait."""
        if self.transport is None or self.transport.get_write_buffer_size() > _BACKLOG_BYTES:
            return
        try:
            await self.socket.send_str(text)
        except ConnectionError:
            log.debug("a message was not sent: the peer is gone")

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Rendezvous:
    """Admits workers, watches over them, and turns what happens into events.

    Args:
        settings: of the head.
        sizes: of the group.
        group: who belongs to it; changed here only.
        status: the head's, sent with every heartbeat.
        refuses: says why nobody may join at present, or None.
    """

    def __init__(
        self,
        settings: Settings,
        sizes: Sizes,
        group: Group,
        status: Status,
        refuses: Callable[[], str | None],
    ) -> None:
        self._settings = settings
        self._sizes = sizes
        self._status = status
        self._refuses = refuses
        self._connections: dict[str, _Connection] = {}
        self._stopped = asyncio.Event()
        self.group = group
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.last_refusal = ""
        self.beats_late = 0

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """One worker's connection, from its hello to its end."""
        socket = web.WebSocketResponse(timeout=1, autoping=True, max_msg_size=1 << 20)
        await socket.prepare(request)
        try:
            hello = await self._hello(request, socket)
            member = self._admit(hello)
        except (MultinodeError, FullError) as error:
            await self._refuse(socket, error)
            return socket
        transport = request.transport
        connection = _Connection(socket, transport if isinstance(transport, asyncio.Transport) else None)
        pod = member.identity.pod
        self._connections[pod] = connection
        await connection.send(self._welcome(member))
        log.info(
            "%s joined from %s as rank %d (%d of %d nodes)",
            pod,
            member.identity.address,
            member.rank,
            len(self.group.members) + 1,
            self.group.nodes,
        )
        self.events.put_nowait(Joined(pod))
        try:
            await self._read(pod, connection)
        finally:
            if self._connections.get(pod) is connection:
                self.lose(pod, "its connection ended")
        return socket

    async def _hello(self, request: web.Request, socket: web.WebSocketResponse) -> Hello:
        self._check_token(request)
        try:
            text = await socket.receive_str(timeout=_HELLO_TIMEOUT)
            hello = from_worker.validate_json(text)
        except (TypeError, TimeoutError, ValidationError) as error:
            raise MultinodeError(
                ExitCode.VERSIONS_DIFFER,
                f"{request.remote} does not speak this head's protocol {PROTOCOL}.",
                hint="Run the same image on head and workers.",
            ) from error
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise MultinodeError(ExitCode.VERSIONS_DIFFER, f"{request.remote} speaks another protocol.")
        return hello

    def _check_token(self, request: web.Request) -> None:
        presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
        expected = self._settings.token or ""
        # aiohttp passes bytes that are not UTF-8 on as surrogates.
        if hmac.compare_digest(presented.encode(errors="surrogateescape"), expected.encode()):
            return
        lack = "presents no token" if not presented else "presents another token than the head's"
        if not expected:
            lack = "presents a token and the head has none"
        raise MultinodeError(
            ExitCode.TOKEN, f"{request.remote} {lack}.", hint="Mount the same Secret on head and workers."
        )

    def _admit(self, hello: Hello) -> Member:
        refusal = self._refuses()
        if refusal is not None:
            raise FullError(refusal)
        pod = hello.identity.pod
        if pod in self._connections:
            # Its supervisor was started anew before the old connection's end was seen.
            self.lose(pod, "it joined anew")
        return self.group.admit(hello.identity, hello.group, _now())

    async def _refuse(self, socket: web.WebSocketResponse, error: MultinodeError | FullError) -> None:
        if isinstance(error, FullError):
            refused = Refused(code=ExitCode.GROUP, what=str(error), final=False)
        else:
            # A name that leads to another group's head for a moment is DNS catching up.
            final = error.code is not ExitCode.GROUP
            refused = Refused(code=error.code, what=error.what, hint=error.hint, final=final)
            if self.last_refusal != str(error):
                self.last_refusal = str(error)
                log.warning("refused: %s", error)
                self.events.put_nowait(Declined(str(error)))
        try:
            await socket.send_str(refused.model_dump_json())
            await socket.close()
        except ConnectionError:
            log.debug("a refused worker did not wait for the reason")

    def _welcome(self, member: Member) -> str:
        return Welcome(
            head=self.group.head.pod,
            epoch=self.group.epoch,
            rank=member.rank,
            sizes=self._sizes,
            heartbeat_timeout=self._settings.timings.heartbeat,
        ).model_dump_json()

    async def _read(self, pod: str, connection: _Connection) -> None:
        async for message in connection.socket:
            # What is left in the buffers of a lost connection says nothing of the one that replaced it.
            if message.type is not WSMsgType.TEXT or self._connections.get(pod) is not connection:
                return
            self.group.heard(pod, _now())
            try:
                said = from_worker.validate_json(message.data)
            except ValidationError:
                log.warning("%s sent what this head does not understand", pod)
                return
            self._take(pod, said)

    def _take(self, pod: str, said: object) -> None:
        member = self.group.members[pod]
        if isinstance(said, Beat):
            member.state = said.state
        elif isinstance(said, EngineStopped):
            member.stopped_epoch = max(member.stopped_epoch, said.epoch)
            self._stopped.set()
        elif isinstance(said, EngineExited):
            if said.epoch != self.group.epoch:
                log.debug("%s speaks of epoch %d; now is %d", pod, said.epoch, self.group.epoch)
                return
            self.events.put_nowait(Exited(pod, said.epoch, said.reason))
        elif isinstance(said, Leaving):
            member.leaving = True
            self.events.put_nowait(Left(pod, said.reason))

    def lose(self, pod: str, reason: str) -> None:
        """Forget a member and end its connection."""
        member = self.group.remove(pod)
        connection = self._connections.pop(pod, None)
        if connection is not None:
            connection.abort()
        if member is not None:
            log.warning("lost %s (rank %d): %s", pod, member.rank, reason)
            self.events.put_nowait(Lost(pod, reason))
            self._stopped.set()

    def forget_events(self) -> None:
        """Drop what happened so far: who is a member now is what counts."""
        while not self.events.empty():
            self.events.get_nowait()

    async def beat(self) -> None:
        """Send heartbeats and miss the others', for ever."""
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
            for member in self.group.silent(now, timeout):
                self.lose(member.identity.pod, f"no heartbeat for {now - member.seen:.1f} s")
            if now >= due_beat:
                await self.announce()
                due_beat = now + interval
            due = now + look
            await asyncio.sleep(look)

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

    async def close(self) -> None:
        """End every connection."""
        for connection in list(self._connections.values()):
            connection.abort()
        self._connections.clear()


def _now() -> float:
    return asyncio.get_running_loop().time()

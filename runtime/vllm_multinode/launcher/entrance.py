"""From a stranger's request to a worker that has proven itself and said who it is."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from aiohttp import web
from pydantic import ValidationError

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.group import Group
from vllm_multinode.launcher.handshake import HeadsSide, refusal_headers
from vllm_multinode.launcher.messages import (
    LONGEST_FROM_WORKER,
    PROTOCOL,
    Claim,
    Hello,
    Refused,
    from_worker,
)
from vllm_multinode.launcher.peer import Peer
from vllm_multinode.launcher.proof import Challenges, SealError
from vllm_multinode.launcher.refusals import Refusals
from vllm_multinode.launcher.settings import Settings

_HELLO_TIMEOUT: Final = 5.0
# WebSockets of workers that have not said who they are; each costs some 40 KiB.
_INTRODUCING: Final = 64


class Entrance:
    """Opens WebSockets to workers that prove themselves, and hears who they are.

    Args:
        settings: of the head.
        group: whose name they have to bear.
        refusals: are told of those who do not get in.
        now: the clock.
    """

    def __init__(
        self, settings: Settings, group: Group, refusals: Refusals, now: Callable[[], float]
    ) -> None:
        self._token = settings.token
        self._group = group
        self._refusals = refusals
        self._introducing = 0
        claim = Claim(pod=group.head.pod, group=group.told)
        self._handshake = HeadsSide(settings.token, claim, Challenges(now))

    async def challenge(self, _: web.Request) -> web.Response:
        """What a worker has to answer before its WebSocket opens."""
        return web.Response(text=self._handshake.challenges.new())

    async def let_in(self, request: web.Request) -> tuple[Claim, Peer] | web.Response:
        """Open the WebSocket of a worker that has proven itself; else the answer that it gets."""
        try:
            claim, said = self._handshake.let_in(request.headers, str(request.remote))
            # Now, because a worker of another group ends the WebSocket once it has read whose it is.
            self._group.check_name(claim.pod, str(request.remote), claim.group)
        except MultinodeError as error:
            self._refusals.add(error, proven=False)
            headers = refusal_headers(refusal(error))
            return web.Response(status=401, text=f"{error}\n", headers=headers)
        if self._introducing >= _INTRODUCING + 2 * self._group.nodes:
            return web.Response(status=503, text="too many join requests\n")
        socket = web.WebSocketResponse(
            timeout=1, autoping=True, compress=False, max_msg_size=LONGEST_FROM_WORKER
        )
        socket.headers.update(self._handshake.answer(said))
        try:
            await socket.prepare(request)
        except ConnectionError:
            return web.Response(status=400)
        transport = request.transport
        known = transport if isinstance(transport, asyncio.Transport) else None
        return claim, Peer(socket, known, str(request.remote), *said.seals(self._token))

    @contextlib.contextmanager
    def introducing(self) -> Iterator[None]:
        """Counts the workers that have not been welcomed or sent away yet."""
        self._introducing += 1
        try:
            yield
        finally:
            self._introducing -= 1

    async def hello(self, claim: Claim, peer: Peer) -> Hello:
        """Who it is, in full.

        Raises:
            MultinodeError: it speaks another protocol, or is not who it has claimed to be.
        """
        try:
            text = await peer.socket.receive_str(timeout=_HELLO_TIMEOUT)
            hello = from_worker.validate_json(peer.incoming.open(text))
        except (TypeError, TimeoutError, ValidationError, SealError) as error:
            raise MultinodeError(
                ExitCode.VERSIONS_DIFFER,
                f"{peer.address} does not speak this head's protocol {PROTOCOL}.",
                hint="Run the same image on head and workers.",
            ) from error
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise MultinodeError(ExitCode.VERSIONS_DIFFER, f"{peer.address} speaks another protocol.")
        if (hello.identity.pod, hello.group) != (claim.pod, claim.group):
            what = f"{peer.address} claims to be {claim.pod} and then another."
            raise MultinodeError(ExitCode.GROUP, what)
        return hello


def refusal(error: MultinodeError) -> Refused:
    """In a message; a name that leads to another group's head for a moment is DNS catching up."""
    final = error.code is not ExitCode.GROUP
    return Refused(code=error.code, what=error.what, hint=error.hint, final=final)

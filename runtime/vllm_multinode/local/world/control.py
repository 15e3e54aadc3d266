"""The world's side of the control socket."""

import asyncio
import logging
import socket
from typing import Final

from pydantic import ValidationError

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.faults import first_fault
from vllm_multinode.local.world.protocol import LINE_LIMIT, Refusal, Reply, Request
from vllm_multinode.local.world.world import World

log = logging.getLogger(__name__)

_SETTLE: Final = 0.05
"""Seconds in which several changes become one line to those who watch."""


class Control:
    """Answers requests about a world."""

    def __init__(self, world: World, descriptor: int) -> None:
        self._world = world
        self._socket = socket.socket(fileno=descriptor)

    async def start(self) -> None:
        """Answer from now on, until the process ends."""
        self._socket.setblocking(False)
        await asyncio.start_unix_server(self._serve, sock=self._socket, limit=LINE_LIMIT)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                await self._answer(line, reader, writer)
        except (OSError, ValueError) as error:  # gone, or a line without an end
            log.debug("control connection ended: %s", error)
        finally:
            writer.close()

    async def _answer(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = Request.model_validate_json(line)
            if request.command == "watch":
                await self._watch(reader, writer)
                return
            reply = await self._reply(request)
        except ValidationError as error:
            what = f"cannot be parsed: {first_fault(error)}."
            reply = Reply(refusal=Refusal(code=ExitCode.USAGE, what=what, where="request"))
        except MultinodeError as error:
            reply = Reply(refusal=Refusal.of(error))
        await _send(writer, reply)

    async def _reply(self, request: Request) -> Reply:
        if request.command == "status":
            return Reply(status=self._world.status())
        if request.command == "end":
            self._world.grace = request.grace
            self._world.ending.set()
            return Reply(done="ending")
        done = await self._world.do(request)
        log.info("%s", done)
        return Reply(done=done)

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hung_up = asyncio.create_task(reader.read(1))
        try:
            while not hung_up.done():
                change = asyncio.create_task(self._world.change())
                await _send(writer, Reply(status=self._world.status()))
                await asyncio.wait((hung_up, change), return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                await asyncio.sleep(_SETTLE)
        finally:
            hung_up.cancel()


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    writer.write(reply.model_dump_json().encode() + b"\n")
    await writer.drain()

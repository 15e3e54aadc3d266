"""Asks a pod's supervisor how it is."""

import asyncio
from typing import Final

from pydantic import BaseModel, ValidationError

from vllm_multinode.launcher.messages import Loading
from vllm_multinode.launcher.network import host_port

_LIMIT: Final = 1 << 18


class SupervisorStatus(BaseModel):
    """What of GET /status is shown; a supervisor may say more, or less."""

    state: str = ""
    reason: str | None = ""
    rank: int | None = None
    epoch: int | None = None
    loading: Loading | None = None


async def ask(address: str, port: int, timeout: float) -> SupervisorStatus | None:
    """GET /status, or None where nobody answers with one.

    Args:
        address: the pod's IP, so that nothing is resolved.
        port: the supervisor's.
        timeout: seconds for all of it.
    """
    try:
        async with asyncio.timeout(timeout):
            body = await _get(address, port)
        return SupervisorStatus.model_validate_json(body)
    except (OSError, ValidationError, asyncio.IncompleteReadError):
        return None


async def _get(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        # HTTP/1.0: the answer ends with the connection, whatever its length.
        writer.write(
            f"GET /status HTTP/1.0\r\nHost: {host_port(address, port)}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b""
        while len(answer) < _LIMIT and (chunk := await reader.read(_LIMIT)):
            answer += chunk
        return answer.partition(b"\r\n\r\n")[2]
    finally:
        writer.transport.abort()

"""How an attack asks to be let in, as a worker would."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp

from attack.target import Target
from unit.launcher.members import Pod, challenge
from vllm_multinode.launcher.handshake import PATH, WorkersSide
from vllm_multinode.launcher.messages import Claim, Hello


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that gives up in time."""
    connector = aiohttp.TCPConnector(limit=50)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as client:
        yield client


async def opened(
    target: Target, client: aiohttp.ClientSession, hello: Hello, token: str | None
) -> Pod | None:
    """Prove what that worker can, and open its WebSocket; None where it does not open."""
    claim = Claim(pod=hello.identity.pod, group=hello.group)
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
        said = await challenge(client, target.base) if token is not None else ""
        side = WorkersSide(token, claim, said)
        link = await client.ws_connect(target.base + PATH, headers=side.headers())
        return Pod(link, side.check(link._response.headers), token)
    return None


async def joining(
    target: Target, client: aiohttp.ClientSession, hello: Hello, token: str | None
) -> Pod | None:
    """Ask to join as that worker; None where the WebSocket does not open."""
    pod = await opened(target, client, hello, token)
    if pod is not None:
        with contextlib.suppress(ConnectionError):
            await pod.send(hello)
    return pod

"""A worker's search for its head: every address of the head's name in turn."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.handshake import UnprovenError
from vllm_multinode.launcher.link import LinkEndedError, RefusedError
from vllm_multinode.launcher.network import host_port
from vllm_multinode.launcher.settings import Settings

_RESOLVE_TIMEOUT: Final = 5.0
# Who answers under the head's name and proves nothing may not be the head: one answer does not count.
_UNPROVEN_TRIES: Final = 5


class HeadSearch:
    """Tries whoever answers to the head's name, and says why none of them is this worker's head.

    Args:
        settings: of the worker.
        join: joins the head at an address and a port, and returns or raises when the link has ended.
    """

    def __init__(self, settings: Settings, join: Callable[[str, int], Awaitable[None]]) -> None:
        self._settings = settings
        self._join = join
        self._unproven = 0

    def proven(self) -> None:
        """A head has shown that it knows the token: earlier answers do not count any more."""
        self._unproven = 0

    async def round(self) -> str:
        """Try every address once; returns why there is no head, or why the last link ended.

        Raises:
            MultinodeError: refused in a way that asking again does not change.
        """
        host, port = self._settings.head_host, self._settings.ports.supervisor
        try:
            async with asyncio.timeout(_RESOLVE_TIMEOUT):
                resolved = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            # Python encodes the name before it asks; a label is empty or longer than 63 characters.
            return f"{host} is not a host name"
        except (OSError, TimeoutError) as error:
            return f"{host} does not resolve ({getattr(error, 'strerror', None) or 'no answer from DNS'})"
        reason = f"{host} has no address"
        for address in sorted({str(entry[4][0]) for entry in resolved}):
            try:
                await self._join(address, port)
            except LinkEndedError as ended:
                reason = f"head {host} ({address}): {ended}"
            except (RefusedError, UnprovenError) as error:
                reason = self._refused(f"{host} ({host_port(address, port)})", error)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                reason = f"head {host} ({host_port(address, port)}) cannot be reached ({_brief(error)})"
        return reason

    def _refused(self, head: str, error: RefusedError | UnprovenError) -> str:
        """Why there is no link.

        Raises:
            MultinodeError: it has been the same several times, or is certain.
        """
        said = error.refused if isinstance(error, RefusedError) else error
        where = "rejected by the head" if said is not error else f"whoever answers as head {head}"
        # A name that leads to another group's head for a moment is DNS catching up.
        if said.code is ExitCode.GROUP:
            return f"{where}: {said.what}"
        self._unproven += 1
        # Without a token nobody proves anything, and asking again changes nothing.
        if self._settings.token is None or self._unproven >= _UNPROVEN_TRIES:
            raise MultinodeError(said.code, said.what, where=where, hint=said.hint)
        return f"{where}: {said.what}"


def _brief(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

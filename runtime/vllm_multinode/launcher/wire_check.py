"""The head's side of the check of the wire: who measures the way to whom, and what came of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.group import Group
from vllm_multinode.launcher.messages import WireMeasure, WireOpen, WireReady, WireResult
from vllm_multinode.launcher.wire import LIMIT, Listener, measure, new_key

log = logging.getLogger(__name__)

_READY: Final = 2.0
"""Seconds for every node to listen."""
_NO_ANSWER: Final = "no answer in time"


class WireCheck:
    """Measures the ways between the nodes of a group once for every set of members.

    Args:
        group: whose members.
        broadcast: sends a message to every member.
        send: sends one to a member.
    """

    def __init__(
        self,
        group: Group,
        broadcast: Callable[[Frozen], Awaitable[None]],
        send: Callable[[str, Frozen], Awaitable[None]],
    ) -> None:
        self._group = group
        self._broadcast = broadcast
        self._send = send
        self._key = ""
        self._ports: dict[str, int] = {}
        self._results: dict[str, WireResult] = {}
        self._changed = asyncio.Event()
        self._of: tuple[tuple[str, str], ...] = ()
        self._ways: list[tuple[str, str, WireResult]] = []

    def said(self, pod: str, message: WireReady | WireResult) -> None:
        """A member has answered; what belongs to an earlier check is passed over."""
        if message.key != self._key:
            return
        if isinstance(message, WireReady):
            self._ports[pod] = message.port
        else:
            self._results[pod] = message
        self._changed.set()

    def look_again(self) -> None:
        """A member is gone: whoever waits for it need not."""
        self._changed.set()

    async def check(self) -> None:
        """Measure; nothing where these members have been measured, or the head is alone.

        It takes half a second, and no longer than `LIMIT` where the network or a member does not answer.
        """
        nodes = self._nodes()
        if len(nodes) < 2 or nodes == self._of:
            return
        self._of, self._key, self._ports, self._results = nodes, new_key(), {}, {}
        own, address = nodes[0]
        try:
            listener = Listener(address, self._key)
        except OSError as error:
            log.warning("the link is not measured: %s", error)
            return
        serving = asyncio.create_task(listener.serve())
        try:
            self._ports[own] = listener.port
            await self._broadcast(WireOpen(key=self._key))
            await self._until(lambda: len(self._ports) == len(nodes), _READY)
            await self._measure(nodes)
        finally:
            listener.close()
            await serving
        if not self._group.complete:
            self._of = ()
        self._ways = [
            (pod, to, self._results.get(pod, WireResult(reason=_NO_ANSWER)))
            for (pod, _), (to, _) in _ring(nodes)
        ]
        self._key = ""
        self._tell()

    async def _measure(self, nodes: tuple[tuple[str, str], ...]) -> None:
        """Every node the way to the next one, all at the same time."""
        ways = [(pod, to, address) for (pod, _), (to, address) in _ring(nodes) if self._ports.get(to)]
        own = nodes[0][0]
        for pod, to, address in ways:
            if pod != own:
                await self._send(pod, WireMeasure(key=self._key, address=address, port=self._ports[to]))
        for pod, to, address in ways:
            if pod == own:
                self._results[own] = await measure(address, self._ports[to], self._key)
        await self._until(lambda: len(self._results) >= len(ways), LIMIT - _READY)

    async def _until(self, complete: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._group.complete and not complete():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            log.warning("the link: not every node has answered within %.0f s", seconds)

    def _nodes(self) -> tuple[tuple[str, str], ...]:
        """Name and address by rank."""
        head = self._group.head
        workers = ((one.identity.pod, one.identity.address) for one in self._group.staying)
        return ((head.pod, head.address), *workers)

    def _tell(self) -> None:
        for pod, to, result in self._ways:
            if result.gbit_s is None:
                log.warning("the link from %s to %s: %s", pod, to, result.reason)
            else:
                log.info(
                    "the link from %s to %s: %.3g Gbit/s, round trip %.3g ms",
                    pod,
                    to,
                    result.gbit_s,
                    result.round_trip_ms,
                )

    def described(self) -> list[dict[str, Any]]:
        """The part of `/status`: one entry for each way that was measured, by rank."""
        return [
            {
                "from": pod,
                "to": to,
                "round_trip_ms": result.round_trip_ms,
                "gbit_s": result.gbit_s,
                "reason": result.reason,
            }
            for pod, to, result in self._ways
        ]


def _ring(
    nodes: tuple[tuple[str, str], ...],
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Each node with the next one by rank, the last one with the first."""
    return list(zip(nodes, (*nodes[1:], nodes[0]), strict=True))

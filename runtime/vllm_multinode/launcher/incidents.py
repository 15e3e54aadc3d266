"""What ends an epoch on the head: the engine, a member, or whichever of several comes first."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.commands.ray import starved
from vllm_multinode.launcher.deaths import stopped
from vllm_multinode.launcher.events import Exited, Left, Lost
from vllm_multinode.launcher.processes import Engine
from vllm_multinode.launcher.recovery import Cause, Incident
from vllm_multinode.launcher.rendezvous import Rendezvous
from vllm_multinode.launcher.settings import Settings

__all__ = ["end_of_answers", "first_incident"]


async def engine_ended(engine: Engine, pod: str) -> Incident:
    """Wait for the end of this pod's own share of the engine.

    Raises:
        MultinodeError: it has refused its arguments, so no start will do better.
    """
    reason = await asyncio.shield(engine.ended)
    if engine.refused:
        raise MultinodeError(ExitCode.ARGUMENTS, f"{reason}.", where=pod)
    return Incident(_cause(reason), f"{pod}: {reason}")


async def frozen(timeout: float, pod: str) -> Incident:
    """Return once a process of the engine on this node has been stopped by a signal for `timeout` seconds."""
    return Incident(Cause.HUNG, f"{pod}: {await stopped(timeout)}")


async def member_incident(rendezvous: Rendezvous, *, leaving: bool = True) -> Incident:
    """Wait until a member is lost, its engine has ended, or it wants to leave.

    Args:
        rendezvous: whose events are taken.
        leaving: whether a member that wants to leave counts.
    """
    while True:
        event = await rendezvous.events.get()
        if isinstance(event, Lost):
            return Incident(Cause.MEMBER, f"lost {event.pod}: {event.reason}")
        if isinstance(event, Left) and leaving:
            return Incident(Cause.LEAVING, f"{event.pod} is leaving: {event.reason}")
        if isinstance(event, Exited) and event.epoch == rendezvous.group.epoch:
            return Incident(_cause(event.reason), f"{event.pod}: {event.reason}")


def _cause(reason: str) -> Cause:
    return Cause.STARVED if starved(reason) else Cause.ENGINE


async def first_of(*watching: Coroutine[Any, Any, Incident]) -> Incident:
    """The first incident, of several at once the earliest argument's; the other watchers are stopped."""
    watchers = [asyncio.create_task(one) for one in watching]
    try:
        done, _ = await asyncio.wait(watchers, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in watchers if task in done).result()
    finally:
        for task in watchers:
            task.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)


async def first_incident(
    engine: Engine, rendezvous: Rendezvous, settings: Settings, serving: Coroutine[Any, Any, Incident]
) -> Incident:
    """Wait for the first thing that ends an epoch; all that watch are stopped with it.

    Args:
        engine: of this node.
        rendezvous: of the group.
        settings: of the head.
        serving: returns once the engine is dead or hung.
    """
    # The order is that of trust: an engine's own words first.
    return await first_of(
        engine_ended(engine, settings.pod_name),
        member_incident(rendezvous),
        serving,
        frozen(settings.timings.heartbeat, settings.pod_name),
    )


async def end_of_answers(engine: Engine, rendezvous: Rendezvous, settings: Settings) -> str:
    """Wait until the engine cannot answer any more, and say why; a member that leaves still works.

    Args:
        engine: of this node.
        rendezvous: of the group.
        settings: of the head.
    """
    incident = await first_of(
        engine_ended(engine, settings.pod_name),
        member_incident(rendezvous, leaving=False),
        frozen(settings.timings.heartbeat, settings.pod_name),
    )
    return incident.reason

"""The head's wait for its members: bounded, with the reason, and with who is missing."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from vllm_multinode.checkpoint.model_directory import read_model
from vllm_multinode.checkpoint.stages import check_parallel
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.events import Declined
from vllm_multinode.launcher.messages import Identity
from vllm_multinode.launcher.network import has_ipv6
from vllm_multinode.launcher.plan import GroupPlan
from vllm_multinode.launcher.preflight import Readiness
from vllm_multinode.launcher.rendezvous import Rendezvous
from vllm_multinode.launcher.settings import Settings, Sizes

log = logging.getLogger(__name__)


async def await_members(
    settings: Settings,
    rendezvous: Rendezvous,
    readiness: Readiness,
    tell: Callable[[str], None],
) -> Readiness:
    """Wait until every place of the group is taken.

    Args:
        settings: of the head.
        rendezvous: admits the members.
        readiness: of the head.
        tell: is told whenever something changes how many are there, who is missing, and who was rejected why.

    Returns:
        The head's readiness, of the model as it is now where that has changed.

    Raises:
        MultinodeError: MEMBERS_MISSING after MULTINODE_MEMBER_TIMEOUT, or the model has become unusable.
    """
    group = rendezvous.group
    limit = settings.timings.members
    deadline = asyncio.get_running_loop().time() + limit
    while not group.complete:
        why = f"; refused: {rendezvous.refusals.last}" if rendezvous.refusals.last else ""
        present = f"{group.present} of {group.nodes} nodes"
        tell(f"{present}; missing: {group.missing}{why}")
        try:
            async with asyncio.timeout_at(deadline):
                event = await rendezvous.events.get()
        except TimeoutError:
            raise MultinodeError(
                ExitCode.MEMBERS_MISSING,
                f"{present} for {limit:.0f} s; missing: {group.missing}{why}.",
                where=env.MEMBER_TIMEOUT,
                hint="Look at the missing pods' state, events and logs.",
            ) from None
        if isinstance(event, Declined) and event.code is ExitCode.MODELS_DIFFER:
            readiness = await _read_again(settings, rendezvous, readiness)
    return readiness


async def _read_again(settings: Settings, rendezvous: Rendezvous, readiness: Readiness) -> Readiness:
    """A worker sees another model: it may be the head that read an earlier state of the same directory."""
    model = await asyncio.to_thread(read_model, settings.model_dir, meant=settings.model_source)
    before = readiness.identity.fingerprint
    if model.fingerprint == before:
        return readiness
    if settings.sizes is not None:
        check_parallel(model, settings.sizes.tensor_parallel, settings.sizes.pipeline_parallel)
    _warn(settings.model_dir, before, model.fingerprint)
    identity = readiness.identity.model_copy(update={"fingerprint": model.fingerprint})
    rendezvous.group.head = identity
    rendezvous.refusals.last = ""
    rendezvous.expel_other_models()
    return dataclasses.replace(readiness, model=model, identity=identity)


def _warn(folder: Path, before: str, now: str) -> None:
    log.warning("the model in %s has changed since it was read: %s, now %s", folder, before[:12], now[:12])


def group_plan(settings: Settings, sizes: Sizes, head: Identity, members: Sequence[str]) -> GroupPlan:
    """What every node of a complete group starts from.

    Args:
        settings: of the head.
        sizes: of the group.
        head: its identity.
        members: addresses of all nodes, by rank.
    """
    return GroupPlan(
        executor=settings.executor,
        sizes=sizes,
        accelerator=head.accelerator,
        model_dir=settings.model_dir,
        model_name=settings.model_name,
        head_address=head.address,
        ports=settings.ports,
        members=tuple(members),
        ip6=has_ipv6(head.address),
        arguments=settings.arguments,
    )

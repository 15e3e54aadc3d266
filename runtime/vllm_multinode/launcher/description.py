"""What a supervisor tells of its node and of its members in `/status`; nothing secret is in it."""

from collections.abc import Iterable, Sequence
from typing import Any

from vllm_multinode.launcher.group import Member
from vllm_multinode.launcher.identity import described
from vllm_multinode.launcher.messages import Loading, ProcessUsage


def engine_described(loading: Loading | None, used: Sequence[ProcessUsage]) -> dict[str, Any]:
    """The part of `/status` that says what a node's engine does."""
    return {
        "loading": loading.model_dump() if loading is not None else None,
        "processes": [one.model_dump() for one in used],
    }


def members_described(members: Iterable[Member], now: float) -> list[dict[str, Any]]:
    """What the head knows of its members by itself, and what each says of its engine, by rank.

    Args:
        members: of the group, without the head.
        now: seconds, of the clock by which they were last heard of.
    """
    return [
        described(member.identity, member.rank, member.state) | _heard_of(member, now)
        for member in sorted(members, key=lambda member: member.rank)
    ]


def _heard_of(member: Member, now: float) -> dict[str, Any]:
    said = member.report
    return {
        "silent_s": round(now - member.seen, 1),
        "round_trip_ms": round(min(member.round_trips) * 1e3, 3) if member.round_trips else None,
        **engine_described(said.loading if said else None, said.processes if said else ()),
    }

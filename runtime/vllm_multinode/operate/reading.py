"""Reads what a supervisor or the API has said, whatever shape it turns out to have. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.platforms.names import HEAD_CONTAINER, WORKER_CONTAINER

RECENT: Final = 3600.0
"""Seconds for which an incident counts as recent."""
_LARGEST: Final = 2**53
"""No time, count or part of anything here is larger; what is comes from somebody else."""
_LAUNCHERS: Final = (HEAD_CONTAINER, WORKER_CONTAINER)


class Recovery(Frozen):
    """An incident that the group has healed, or tries to heal: Unix time in seconds, cause and reason."""

    at: float
    cause: str
    reason: str


class Change(Frozen):
    """A change of state: Unix time in seconds, the state that began then, and its reason."""

    at: float
    state: str
    reason: str


def changes(said: Mapping[str, Any]) -> list[Change]:
    """The states that a head's `/status` tells of, the newest last."""
    return [
        Change(at=at, state=state, reason=text(entry, "reason"))
        for entry in items(said, "history")
        if (at := number(entry, "at")) and (state := text(entry, "state"))
    ]


def incidents(said: Mapping[str, Any]) -> list[Recovery]:
    """The incidents that a head's `/status` tells of, the newest last."""
    found = [
        Recovery(at=number(one, "at") or 0.0, cause=text(one, "cause"), reason=text(one, "reason"))
        for one in items(said, "incidents")
    ]
    if not found and text(said, "last_incident"):
        # A supervisor of an earlier version says no more than this.
        found = [Recovery(at=0.0, cause="", reason=text(said, "last_incident"))]
    return found


def restarts_of(pod: Object) -> int:
    """Restarts of a pod's containers."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return sum(int(one.get("restartCount") or 0) for one in statuses)


def unix(written: Any) -> float | None:
    """A time of the Kubernetes API in seconds since 1970."""
    try:
        return datetime.fromisoformat(str(written)).timestamp()
    except ValueError:
        return None


def text(found: Any, key: str) -> str:
    """A text of a JSON object; empty where it holds none."""
    value = found.get(key) if isinstance(found, Mapping) else None
    return value if isinstance(value, str) else ""


def number(found: Any, key: str) -> float | None:
    """A number of a JSON object."""
    value = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > _LARGEST:
        return None
    return float(value) if value == value else None


def whole(found: Any, key: str) -> int | None:
    """A whole number of a JSON object."""
    value = number(found, key)
    return None if value is None else int(value)


def container_of(pod: Object) -> str:
    """The container that runs the launcher; empty where the pod has one alone."""
    names = [str(one.get("name")) for one in (pod.get("spec") or {}).get("containers") or []]
    if len(names) < 2:
        return ""
    return next((name for name in names if name in _LAUNCHERS), names[0])


def items(found: Any, key: str) -> list[Mapping[str, Any]]:
    """The objects of a list in a JSON object; none where there is no list."""
    value = found.get(key) if isinstance(found, Mapping) else None
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []

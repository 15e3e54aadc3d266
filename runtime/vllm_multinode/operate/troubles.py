"""All that can be seen to be wrong with a service, from one observation. Pure."""

from typing import Final

from vllm_multinode.cluster.causes import CAUSES, Area
from vllm_multinode.cluster.diagnosis import diagnose
from vllm_multinode.cluster.pod_states import Trouble
from vllm_multinode.operate.engine_states import of_engine
from vllm_multinode.operate.group_states import of_group, of_pods
from vllm_multinode.operate.observation import Observation

_ORDER: Final[tuple[Area, ...]] = ("engine", "node", "container", "pods", "object", "group")
"""The nearer to the root, the sooner: an engine's last words say why a pod ended, that why a group waits."""
_EFFECTS: Final = ("stops", "harms", "tells")
_WORKER_CANNOT: Final = "exit-head-unreachable"
"""A worker that does not reach its head: why there is none comes first."""


def troubles(seen: Observation) -> list[Trouble]:
    """All that can be seen to be wrong, the root first; nothing is waited for."""
    found = [*of_engine(seen), *of_group(seen), *of_pods(seen)]
    found += [one for one in diagnose(seen.snapshot, seen.controller) if not _too_early(seen, one)]
    unique = {(one.cause, one.subject): one for one in reversed(found)}
    ranked = [one for one in found if unique[one.cause, one.subject] is one]
    return sorted(ranked, key=_rank)


def _rank(trouble: Trouble) -> tuple[int, int]:
    cause = CAUSES[trouble.cause]
    late = len(_ORDER) if trouble.cause == _WORKER_CANNOT else 0
    return _EFFECTS.index(cause.effect), late or _ORDER.index(cause.area)


def _too_early(seen: Observation, trouble: Trouble) -> bool:
    """A controller that has had no time yet is not silent."""
    return trouble.cause in ("not-taken-up", "controller-down") and seen.snapshot.age < trouble.patience

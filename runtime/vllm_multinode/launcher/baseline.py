"""What lay in a pod's volumes before its first engine: whatever comes later, an engine of this pod has left.

A container that is killed cannot clean up, and its successor finds the same /dev/shm and /tmp. Only the first
supervisor of the pod can tell what is foreign there, so it leaves a record for those that follow.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_multinode.launcher.kept import kept_file, read_kept, write_kept
from vllm_multinode.launcher.leftovers import list_leftovers, temporary_folders
from vllm_multinode.launcher.shared_memory import SHARED_MEMORY, list_shared_memory

log = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NETWORK = Path("/proc/self/ns/net")


@dataclass(frozen=True)
class Baseline:
    """What is not to be removed: names in /dev/shm, and paths among the temporary files."""

    shared_memory: frozenset[str]
    temporary: frozenset[Path]


def baseline(
    environment: Mapping[str, str], pod: str, *, alone: bool | None = None, shared: Path = SHARED_MEMORY
) -> Baseline:
    """What lay there before the first engine of this pod, or lies there now where that was not recorded.

    A supervisor that is not the first process of its PID namespace may share the volumes with programs of the
    same user: it neither writes a record nor believes one.

    Args:
        environment: of this process; says where temporary files and the record are.
        pod: its name.
        alone: whether this is the first process of its PID namespace; asked of the system by default.
        shared: where the shared memory is mounted.
    """
    now = Baseline(list_shared_memory(shared), list_leftovers(temporary_folders(environment)))
    if not (os.getpid() == 1 if alone is None else alone):
        return now
    file, identity = kept_file(environment, "baseline"), _identity(pod)
    found = _believed(read_kept(file), identity)
    if found is not None:
        return found
    paths = sorted(map(str, now.temporary))
    write_kept(file, identity | {"shared_memory": sorted(now.shared_memory), "temporary": paths})
    return now


def _identity(pod: str) -> dict[str, str]:
    """A pod keeps its name and its network namespace from one container to the next, until a reboot."""
    try:
        return {"pod": pod, "boot": _BOOT.read_text().strip(), "network": str(_NETWORK.readlink())}
    except OSError:
        return {"pod": pod, "boot": "", "network": ""}


def _believed(record: object, identity: Mapping[str, str]) -> Baseline | None:
    if not isinstance(record, dict) or not identity.items() <= record.items():
        return None
    shared, temporary = record.get("shared_memory"), record.get("temporary")
    if not isinstance(shared, list) or not isinstance(temporary, list):
        return None
    return Baseline(frozenset(map(str, shared)), frozenset(Path(str(path)) for path in temporary))

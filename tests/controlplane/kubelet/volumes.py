"""A Pod's volumes as folders of this machine."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from vllm_multinode.k8s.quantity import parse
from vllm_multinode.local.world.pods import HostMount

# A local node has its own.
_OWN: Final = ("/dev/shm", "/tmp")
_SHARED_MEMORY: Final = 1 << 30


def mounts(
    pod: Mapping[str, Any], container: Mapping[str, Any], claims: Mapping[str, Path], folder: Path
) -> tuple[HostMount, ...]:
    """What the container sees where.

    Args:
        pod: as the API server has it.
        container: one of its containers.
        claims: the folder behind each PersistentVolumeClaim.
        folder: for the Pod's empty volumes.

    Raises:
        ValueError: a volume of a kind that this kubelet has not, or an unknown claim.
    """
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    return tuple(_mounts(volumes, container, claims, folder))


def shared_memory(pod: Mapping[str, Any], container: Mapping[str, Any]) -> int:
    """Bytes of /dev/shm."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        if mount["mountPath"] == "/dev/shm":
            limit = volumes[mount["name"]]["emptyDir"].get("sizeLimit")
            return int(parse(limit)) if limit else _SHARED_MEMORY
    return 64 << 20


def _mounts(
    volumes: Mapping[str, Any], container: Mapping[str, Any], claims: Mapping[str, Path], folder: Path
) -> Iterator[HostMount]:
    for mount in container.get("volumeMounts", []):
        volume, target = volumes[mount["name"]], mount["mountPath"]
        read_only = mount.get("readOnly", False)
        if "emptyDir" in volume:
            if target in _OWN:
                continue
            source = folder / mount["name"]
            source.mkdir(parents=True, exist_ok=True)
        elif "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]
            if claim["claimName"] not in claims:
                raise ValueError(f"there is no claim {claim['claimName']}")
            source = claims[claim["claimName"]] / mount.get("subPath", "")
            read_only = read_only or claim.get("readOnly", False)
        else:
            raise ValueError(f"the volume {volume['name']} is of a kind that is not for this kubelet")
        yield HostMount(source=source, target=Path(target), read_only=read_only)

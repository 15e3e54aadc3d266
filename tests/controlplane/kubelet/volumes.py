"""A Pod's volumes as folders of this machine."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from controlplane.kubelet.api import MissingError
from vllm_multinode.k8s.quantity import parse
from vllm_multinode.local.world.pod_spec import HostMount

# A local node has its own.
_OWN: Final = ("/dev/shm", "/tmp")
_SHARED_MEMORY: Final = 1 << 30


Files = Callable[[str, str], Mapping[str, bytes] | None]
"""Of a ConfigMap or Secret, by kind (plural) and name."""


def mounts(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    claims: Mapping[str, Path],
    folder: Path,
    files: Files,
) -> tuple[HostMount, ...]:
    """What the container sees where.

    Args:
        pod: as the API server has it.
        container: one of its containers.
        claims: the folder behind each PersistentVolumeClaim.
        folder: for the Pod's empty volumes, and those of ConfigMaps and Secrets.
        files: what a ConfigMap or Secret holds.

    Raises:
        ValueError: a volume of a kind that this kubelet has not.
        MissingError: a ConfigMap, a Secret, a claim or a folder of one is not there.
    """
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    return tuple(_mounts(volumes, container, claims, folder, files))


def shared_memory(pod: Mapping[str, Any], container: Mapping[str, Any]) -> int:
    """Bytes of /dev/shm."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        if mount["mountPath"] == "/dev/shm":
            limit = volumes[mount["name"]]["emptyDir"].get("sizeLimit")
            return int(parse(limit)) if limit else _SHARED_MEMORY
    return 64 << 20


def _mounts(
    volumes: Mapping[str, Any],
    container: Mapping[str, Any],
    claims: Mapping[str, Path],
    folder: Path,
    files: Files,
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
                raise MissingError(f"there is no claim {claim['claimName']}")
            source = claims[claim["claimName"]] / mount.get("subPath", "")
            read_only = read_only or claim.get("readOnly", False)
            if not source.exists():
                raise MissingError(f"{claim['claimName']} has no {mount.get('subPath')}")
        elif "configMap" in volume or "secret" in volume:
            source, read_only = folder / mount["name"], True
            _write(source, volume, files)
        else:
            raise ValueError(f"the volume {volume['name']} is of a kind that is not for this kubelet")
        yield HostMount(source=source, target=Path(target), read_only=read_only)


def _write(folder: Path, volume: Mapping[str, Any], files: Files) -> None:
    """The files of a ConfigMap or Secret, as a volume shows them."""
    kind, name, optional = reference(volume)
    held = files(kind, name)
    if held is None and not optional:
        raise MissingError(f"there is no {kind} {name}")
    folder.mkdir(parents=True, exist_ok=True)
    items = (volume.get("configMap") or volume.get("secret") or {}).get("items")
    paths = {one["key"]: one["path"] for one in items} if items else {key: key for key in held or {}}
    for key, path in paths.items():
        if held is not None and key not in held:
            raise MissingError(f"there is no {key} in {kind} {name}")
        (folder / path).write_bytes((held or {})[key])


def reference(volume: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Kind, name and whether the Pod starts without it."""
    if "configMap" in volume:
        return "configmaps", volume["configMap"]["name"], volume["configMap"].get("optional", False)
    return "secrets", volume["secret"]["secretName"], volume["secret"].get("optional", False)

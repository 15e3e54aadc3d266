"""A pod that runs vLLM, as Deployments, StatefulSets, LeaderWorkerSets and InferenceServices have it."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from vllm_multinode.convert import engine_arguments, environment, hardware
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.engine_arguments import NODES_WHY, Given
from vllm_multinode.convert.record import Path, Record
from vllm_multinode.k8s.access import listed, mapping

PROBES: Final = "The launcher's own probes ask the supervisor, which tells busy from hung."
IMAGE: Final = (
    "The launcher runs in vLLM's released image; if yours contains something more, set image to it."
)
_COMMAND: Final = "The launcher starts vLLM with these arguments."
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - a mount
_CONTAINER: Final[Mapping[str, str]] = {
    "name": "KServe expects its own names.",
    "imagePullPolicy": "Kubernetes' default holds.",
    "ports": "KServe's Services define the ports.",
    "startupProbe": PROBES,
    "readinessProbe": PROBES,
    "livenessProbe": PROBES,
    "lifecycle": "The launcher drains requests when the pod ends.",
    "workingDir": "The launcher chooses it.",
    "terminationMessagePolicy": "The launcher writes the termination message.",
    "stdin": "Nothing reads it.",
    "tty": "Nothing reads it.",
}
_POD: Final[Mapping[str, str]] = {
    "restartPolicy": "KServe's Deployments restart pods.",
    "terminationGracePeriodSeconds": "It follows from drain.",
    "hostNetwork": "The pods have addresses of their own.",
    "hostIPC": "Each pod has its own /dev/shm.",
    "dnsPolicy": "The cluster's default applies.",
    "subdomain": "The launcher finds the head by KServe's Service.",
    "hostname": "The launcher finds the head by KServe's Service.",
    "initContainers": "The fetch Job fills the claim before the pods start.",
    "shareProcessNamespace": "One container runs in each pod.",
    "enableServiceLinks": "The variables of Services are left out.",
}


def take_pod(record: Record, draft: Draft, base: Path) -> bool:
    """Take a pod's spec with its vLLM container.

    Returns:
        Whether one of its containers starts vLLM; a container alone is taken for it.
    """
    containers = record.list(*base, "containers")
    alone = len(containers) == 1
    serving = None
    for index, container in enumerate(containers):
        path = (*base, "containers", index)
        if serving is None and isinstance(container, Mapping) and (alone or runs_vllm(container)):
            serving = index
            take_container(record, draft, path)
        else:
            record.not_carried(path, "It runs beside vLLM; the group has one container in each pod.")
    hardware.take_placement(record, draft, base)
    record.replace(base, _POD)
    for field in ("serviceAccountName", "imagePullSecrets"):
        _account(record, draft, (*base, field), field)
    _volumes(record, draft, (*base, "volumes"))
    if serving is not None:
        _model_mount(record, draft, base, serving)
    return serving is not None


def take_worker(record: Record, draft: Draft, base: Path) -> None:
    """Take the pod of a worker, which runs the same engine as the head: what starts it is the launcher's."""
    take_pod(record, draft, base)
    containers = record.list(*base, "containers")
    for index, container in enumerate(containers):
        if isinstance(container, Mapping) and (len(containers) == 1 or runs_vllm(container)):
            record.replace((*base, "containers", index), {"command": NODES_WHY, "args": NODES_WHY})


def take_container(record: Record, draft: Draft, base: Path) -> None:
    """Take a container's arguments, environment and resources."""
    variables = environment.values(record.get(*base, "env"))
    environment.take_list(record, draft, (*base, "env"))
    if record.get(*base, "envFrom") is not None:
        record.not_carried((*base, "envFrom"), "Write each variable under env, with valueFrom.")
    take_command(record, draft, base, variables)
    hardware.take_resources(record, draft, (*base, "resources"))
    if record.get(*base, "image") is not None:
        record.changed((*base, "image"), "image", IMAGE)
    for index, mount in enumerate(record.list(*base, "volumeMounts")):
        path = (*base, "volumeMounts", index)
        where = mount.get("mountPath") if isinstance(mount, Mapping) else None
        if where == _SHARED_MEMORY:
            record.changed(path, "sharedMemory", "Rendered with its size.")
        else:
            record.not_carried(
                path, "The model and /dev/shm are mounted; add other volumes with a kustomize patch."
            )
    record.replace(base, _CONTAINER)
    if isinstance(record.get(*base, "securityContext"), Mapping):
        draft.set("securityContext", record.get(*base, "securityContext"))
        record.carried((*base, "securityContext"), "securityContext")


def take_command(record: Record, draft: Draft, base: Path, variables: Mapping[str, str]) -> None:
    """Take vLLM's arguments out of command and args."""
    words = _words(record, base)
    found = engine_arguments.command_of([one.text for one in words])
    if found is None:
        arguments = record.list(*base, "args")
        plain = [Given(str(text), (*base, "args", index)) for index, text in enumerate(arguments)]
        if record.get(*base, "command") is not None:
            record.not_carried((*base, "command"), "It does not start vLLM in a known way.")
        engine_arguments.from_list(record, draft, plain, variables)
        return
    _, arguments = found
    for one in words:
        record.changed(one.path, "arguments", _COMMAND)
    given = _placed(arguments, words)
    engine_arguments.from_list(record, draft, given, variables)


def runs_vllm(container: Mapping[str, Any]) -> bool:
    """Whether a container starts vLLM, by its command, its image or its arguments."""
    texts = [str(word) for part in ("command", "args") for word in listed(container, part)]
    if engine_arguments.command_of(texts) is not None:
        return True
    image = str(container.get("image", "")).lower()
    return "vllm" in image or any(text.startswith("--tensor-parallel-size") for text in texts)


def _words(record: Record, base: Path) -> list[Given]:
    found = []
    for part in ("command", "args"):
        items = record.get(*base, part)
        items = [items] if isinstance(items, str) else items
        for index, text in enumerate(items if isinstance(items, list) else []):
            found.append(Given(str(text), (*base, part, index)))
    return found


def _placed(arguments: list[str], words: list[Given]) -> list[Given]:
    """Each argument with the word that it stands in: its own, or the script that holds it."""
    texts = [one.text for one in words]
    if arguments and texts[-len(arguments) :] == arguments:
        return words[-len(arguments) :]
    script = max(words, key=lambda one: len(one.text))
    return [Given(text, (*script.path, f"argument {index}")) for index, text in enumerate(arguments)]


def _account(record: Record, draft: Draft, path: Path, field: str) -> None:
    value = record.get(*path)
    if field == "imagePullSecrets" and isinstance(value, list) and value:
        draft.set(field, [str(one.get("name")) for one in value if isinstance(one, Mapping)])
        record.carried(path, field)
    elif isinstance(value, str) and value:
        draft.set(field, value)
        record.carried(path, field)


def _model_mount(record: Record, draft: Draft, base: Path, serving: int) -> None:
    """The model's folder in its claim, where the container names it by the path that it is mounted at."""
    claims = {
        str(volume.get("name")): mapping(volume, "persistentVolumeClaim").get("claimName")
        for volume in record.list(*base, "volumes")
        if isinstance(volume, Mapping)
    }
    mounts: Path = (*base, "containers", serving, "volumeMounts")
    for index, mount in enumerate(record.list(*mounts)):
        claim = claims.get(str(mapping(mount).get("name")))
        if claim is None or claim != draft.get("model.claim"):
            continue
        record.changed((*mounts, index), "model.path", "The claim is mounted where KServe mounts a model.")
        root, path = PurePosixPath(str(mount.get("mountPath"))), draft.get("model.path")
        if path and PurePosixPath("/", path).is_relative_to(root):
            inside = PurePosixPath("/", path).relative_to(root)
            folder = str(PurePosixPath(str(mount.get("subPath") or ""), inside))
            draft.set("model.path", "" if folder == "." else folder)


def _volumes(record: Record, draft: Draft, base: Path) -> None:
    for index, volume in enumerate(record.list(*base)):
        path = (*base, index)
        if not isinstance(volume, Mapping):
            continue
        memory = record.get(*path, "emptyDir", "medium") == "Memory"
        claim = record.get(*path, "persistentVolumeClaim", "claimName")
        size = record.get(*path, "emptyDir", "sizeLimit")
        if memory and size is not None:
            draft.set("sharedMemory", size)
            record.carried(path, "sharedMemory")
        elif memory:
            record.changed(path, "sharedMemory", "With the default size.")
        elif isinstance(claim, str) and not draft.get("model.source"):
            draft.set("model.claim", claim)
            record.changed(path, "model.claim", "The claim that holds the model.")
        elif volume.get("emptyDir") is not None:
            record.changed(path, "", "The launcher has writable folders.")
        else:
            record.not_carried(
                path, "The model and /dev/shm are mounted; add other volumes with a kustomize patch."
            )

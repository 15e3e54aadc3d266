"""What is wrong with a pod, from its conditions, its containers and its events. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract.exit_codes import ExitCode

_LONGEST: Final = 400
_FINAL_CODES: Final = frozenset(
    code
    for code in ExitCode
    if ExitCode.VARIABLE <= code <= ExitCode.LAYERS or code in range(40, 45) or code is ExitCode.IMAGE
)
"""What the launcher refuses of its input: a restart refuses it again."""

IMAGE_PATIENCE: Final = 60.0
SCHEDULING_PATIENCE: Final = 300.0
MOUNT_PATIENCE: Final = 120.0
SHORT_PATIENCE: Final = 30.0


@dataclass(frozen=True)
class Trouble:
    """Why a service does not come to serve.

    Attributes:
        subject: what has it, such as pod llama-predictor-0.
        what: one sentence.
        hint: one sentence.
        patience: seconds that it may last, because it may yet pass; 0 is final.
    """

    subject: str
    what: str
    hint: str = ""
    patience: float = SHORT_PATIENCE


def troubles(pod: Object, events: Sequence[Object]) -> Iterator[Trouble]:
    """What keeps a pod from running.

    Args:
        pod: as it is.
        events: of its namespace; those of this pod are picked out.
    """
    name = f"pod {pod['metadata']['name']}"
    status = pod.get("status") or {}
    if status.get("phase") == "Failed":
        text = f"{status.get('reason') or 'failed'}: {status.get('message') or 'no message'}"
        yield Trouble(name, _short(text), "See `kubectl describe` of the pod.", IMAGE_PATIENCE)
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield _unscheduled(name, str(condition.get("message") or condition.get("reason") or ""))
    for container in _containers(status):
        found = _of_container(name, container)
        if found is not None:
            yield found
    yield from _mounts(name, pod, events)


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _unscheduled(name: str, text: str) -> Trouble:
    what = _short(f"cannot be scheduled: {text}")
    if found := re.search(r'persistentvolumeclaim "([^"]+)" not found', text):
        return Trouble(name, what, f"Create the claim {found[1]}, or name another.")
    if "unbound immediate PersistentVolumeClaims" in text:
        return Trouble(name, what, "See the claim's events: it has no volume yet.", MOUNT_PATIENCE)
    if found := re.search(r"Insufficient (\S+?)[.,]?(?:\s|$)", text):
        hint = f"Free {found[1]} on the nodes, or ask for less; `multinode plan` says what the model needs."
        return Trouble(name, what, hint, SCHEDULING_PATIENCE)
    if "untolerated taint" in text or "had taint" in text:
        return Trouble(name, what, "Add the toleration, for head and workers.", SCHEDULING_PATIENCE)
    if "node affinity" in text or "node selector" in text:
        return Trouble(name, what, "No node has the labels asked for; see placement.", SCHEDULING_PATIENCE)
    return Trouble(name, what, "See `kubectl describe` of the pod.", SCHEDULING_PATIENCE)


def _of_container(name: str, container: dict[str, Any]) -> Trouble | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, text = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        what = _short(f"the image {container.get('image')} cannot be pulled: {text or reason}")
        patience = 0 if reason == "InvalidImageName" else IMAGE_PATIENCE
        return Trouble(name, what, "Correct the image, or give imagePullSecrets for its registry.", patience)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return Trouble(
            name, _short(f"its container cannot be made: {text or reason}"), "Correct what is named."
        )
    ended = (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get(
        "terminated"
    )
    if ended and not container.get("ready"):
        return _ended(name, container, ended, looping=reason == "CrashLoopBackOff")
    return None


def _ended(name: str, container: dict[str, Any], ended: dict[str, Any], *, looping: bool) -> Trouble | None:
    code, restarts = int(ended.get("exitCode") or 0), int(container.get("restartCount") or 0)
    times = f" ({restarts} restarts)" if restarts else ""
    if ended.get("reason") == "OOMKilled":
        return Trouble(
            name,
            f"was killed for memory{times}.",
            "Raise the memory limit; /dev/shm and the page cache of a tmpfs count towards it.",
            0 if restarts else SHORT_PATIENCE,
        )
    if code == 0 and not looping:
        return None
    known = {one.value: one.name for one in ExitCode}
    said = _short(str(ended.get("message") or "").strip())
    label = f" {known[code]}" if code in known and code != 0 else ""
    what = f"ended with exit code {code}{label}{times}: {said or 'it left no message'}"
    hint = "" if said else "See its log: kubectl logs --previous."
    final = code in _FINAL_CODES or (looping and restarts >= 3)
    return Trouble(name, what, hint, 0 if final else MOUNT_PATIENCE)


def _mounts(name: str, pod: Object, events: Sequence[Object]) -> Iterator[Trouble]:
    status = pod.get("status") or {}
    if any(container.get("started") for container in _containers(status)):
        return
    uid = pod["metadata"].get("uid")
    said = [
        str(event.get("message") or "")
        for event in events
        if (event.get("involvedObject") or {}).get("uid") == uid
        and event.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
    ]
    if said:
        hint = "Correct the claim, Secret or ConfigMap that is named."
        yield Trouble(name, _short(f"a volume cannot be mounted: {said[-1]}"), hint, MOUNT_PATIENCE)


def words(pod: Object) -> str:
    """A pod's state in a word or two, where no supervisor tells more."""
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "terminating"
    for container in _containers(status):
        state = container.get("state") or {}
        if reason := (state.get("waiting") or {}).get("reason"):
            return str(reason)
        ended = state.get("terminated") or {}
        if int(ended.get("exitCode") or 0) != 0:
            return f"{ended.get('reason') or 'ended'} ({ended['exitCode']})"
    conditions = {one.get("type"): one for one in status.get("conditions") or []}
    if (conditions.get("PodScheduled") or {}).get("status") == "False":
        return "unschedulable"
    if (conditions.get("Ready") or {}).get("status") == "True":
        return "ready"
    phase = str(status.get("phase") or "Pending")
    return "running, not ready" if phase == "Running" else phase.lower()


def ready(pod: Object) -> bool:
    """Its Ready condition."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

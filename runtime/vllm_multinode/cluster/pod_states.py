"""What is wrong with a pod, from its conditions, its containers and its events. Pure."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vllm_multinode.cluster.causes import BY_EXIT_CODE, CAUSES
from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract.exit_codes import ExitCode

_LONGEST: Final = 400
_SIGNALLED: Final = 128
_FINAL_CODES: Final = frozenset(
    code
    for code in ExitCode
    if ExitCode.VARIABLE <= code <= ExitCode.LAYERS or code in range(40, 45) or code is ExitCode.IMAGE
)
"""What the launcher rejects of its input: a restart rejects it again."""

IMAGE_PATIENCE: Final = 60.0
SCHEDULING_PATIENCE: Final = 300.0
MOUNT_PATIENCE: Final = 120.0
SHORT_PATIENCE: Final = 30.0


@dataclass(frozen=True)
class Trouble:
    """Why a service does not come to serve.

    Attributes:
        cause: the id of a cause of `causes`.
        subject: what has it, such as pod llama-predictor-0.
        what: one sentence.
        hint: one sentence; may be empty.
        patience: seconds that it may last, because it may yet pass; 0 is final.
    """

    cause: str
    subject: str
    what: str
    hint: str = ""
    patience: float = SHORT_PATIENCE


def of_cause(
    cause: str, subject: str, what: str, hint: str | None = None, patience: float = SHORT_PATIENCE
) -> Trouble:
    """A trouble, with the remedy of its cause where nothing better is known."""
    return Trouble(cause, subject, what, CAUSES[cause].remedy if hint is None else hint, patience)


def troubles(pod: Object, events: Sequence[Object]) -> Iterator[Trouble]:
    """What keeps a pod from running.

    Args:
        pod: as it is.
        events: of its namespace; those of this pod are picked out.
    """
    name = f"pod {pod['metadata']['name']}"
    status = pod.get("status") or {}
    if status.get("phase") == "Failed":
        reason, said = status.get("reason"), status.get("message") or "no message"
        cause = "evicted" if reason == "Evicted" else "pod-failed"
        verb = "was evicted" if reason == "Evicted" else f"failed with {reason}" if reason else "failed"
        yield of_cause(cause, name, _short(f"{verb}: {said}"), patience=IMAGE_PATIENCE)
    yield from _of_node(name, pod)
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield _unscheduled(name, condition)
    for container in _containers(status):
        found = _of_container(name, container)
        if found is not None:
            yield found
    yield from _mounts(name, pod, events)


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _of_node(name: str, pod: Object) -> Iterator[Trouble]:
    """A kubelet that has fallen silent leaves the pod's state as it was, and the controller marks it."""
    status, node = pod.get("status") or {}, (pod.get("spec") or {}).get("nodeName")
    conditions = {one.get("type"): one for one in status.get("conditions") or []}
    lost = (conditions.get("Ready") or {}).get("reason") == "NodeNotReady"
    if lost or status.get("phase") == "Unknown" or status.get("reason") == "NodeLost":
        yield of_cause(
            "node-lost",
            name,
            f"is on node {node}, which has stopped responding.",
            patience=SCHEDULING_PATIENCE,
        )


def _unscheduled(name: str, condition: Mapping[str, Any]) -> Trouble:
    text = str(condition.get("message") or condition.get("reason") or "")
    what = _short(f"cannot be scheduled: {text}")
    if condition.get("reason") == "SchedulingGated":
        # A queue holds pods for as long as its quota is used, which may be hours.
        return of_cause("held-by-queue", name, what, patience=math.inf)
    if found := re.search(r'persistentvolumeclaim "([^"]+)" not found', text):
        return of_cause("claim-missing", name, what, f"Create the claim {found[1]}, or name another.")
    if "unbound immediate PersistentVolumeClaims" in text:
        return of_cause("claim-unbound", name, what, patience=MOUNT_PATIENCE)
    if found := re.search(r"Insufficient (\S+?)[.,]?(?:\s|$)", text):
        hint = f"Free {found[1]} on the nodes, or request less; `multinode plan` shows what the model needs."
        return of_cause("no-room", name, what, hint, SCHEDULING_PATIENCE)
    if "untolerated taint" in text or "had taint" in text:
        return of_cause("taint", name, what, patience=SCHEDULING_PATIENCE)
    if "node affinity" in text or "node selector" in text:
        return of_cause("node-labels", name, what, patience=SCHEDULING_PATIENCE)
    return of_cause("unschedulable", name, what, patience=SCHEDULING_PATIENCE)


def _of_container(name: str, container: dict[str, Any]) -> Trouble | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, text = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        what = _short(f"cannot pull the image {container.get('image')}: {text or reason}")
        patience = 0 if reason == "InvalidImageName" else IMAGE_PATIENCE
        return of_cause("image-pull", name, what, patience=patience)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        missing = re.search(r"\b(secret|configmap)\b.* not found|couldn't find key", text, re.IGNORECASE)
        cause = "config-missing" if missing else "container-refused"
        what = _short(f"cannot create its container: {text or reason}")
        return of_cause(cause, name, what, "Correct the setting in the message.")
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
        patience = 0 if restarts else SHORT_PATIENCE
        return of_cause("memory-killed", name, f"was killed because of memory{times}.", patience=patience)
    if code == 0 and not looping:
        return None
    known = {one.value: one.name for one in ExitCode}
    said = _short(str(ended.get("message") or "").strip())
    label = f" {known[code]}" if code in known and code != 0 else ""
    what = f"ended with exit code {code}{label}{times}: {said or 'it left no message'}"
    hint = "" if said else "See its log: multinode logs --previous."
    final = code in _FINAL_CODES or (looping and restarts >= 3)
    return of_cause(_cause_of(code), name, what, hint, 0 if final else MOUNT_PATIENCE)


def _cause_of(code: int) -> str:
    """Of a container that has ended."""
    if code in BY_EXIT_CODE:
        return BY_EXIT_CODE[ExitCode(code)].id
    return "killed" if code > _SIGNALLED else "crashed"


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
        what = _short(f"cannot mount a volume: {said[-1]}")
        yield of_cause("volume-mount", name, what, patience=MOUNT_PATIENCE)


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

"""Why a service does not come to serve: the reason that a user can act on, from one snapshot. Pure."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.cluster import pod_states
from vllm_multinode.cluster.pod_states import Trouble, of_cause
from vllm_multinode.cluster.snapshot import Snapshot
from vllm_multinode.cluster.transport import Object
from vllm_multinode.cluster.versions import Controller
from vllm_multinode.platforms.names import STOP
from vllm_multinode.terminal.durations import age

TAKEN_UP: Final = 45.0
"""Seconds within which a controller that runs has written something into a new object's status."""
_REMADE: Final = 4
"""Deployments under one name within one wait; a service that is updated meanwhile makes two."""
_FAILURES: Final = {
    "RuntimeNotRecognized": "runtime-not-recognized",
    "NoSupportingRuntime": "runtime-not-recognized",
    "RuntimeUnhealthy": "runtime-unhealthy",
    "RuntimeDisabled": "runtime-disabled",
    "InvalidPredictorSpec": "predictor-invalid",
    "InvalidGPUAllocation": "gpu-allocation",
}
"""KServe's reason in a status -> id of the cause."""
_EVENTS: Final = {
    "ServerlessModeRejected": "serverless-refused",
    "InvalidGPUAllocation": "gpu-allocation",
    "InternalError": "controller-error",
    "UpdateFailed": "controller-error",
}
"""KServe's reason in an event -> id of the cause."""
_LOST_RACE: Final = "the object has been modified"
"""Two wrote at once; the controller that came second reads again and goes on."""


def diagnose(snapshot: Snapshot, controller: Controller | None = None) -> list[Trouble]:
    """What keeps the service from serving, the likeliest cause first; nothing where it only needs time.

    Args:
        snapshot: of the service.
        controller: KServe's, where it could be seen.
    """
    if snapshot.service is None:
        hint = "It was deleted; deploy it again."
        return [of_cause("service-gone", snapshot.shown, "no longer exists.", hint, 0)]
    found = [*_deleting(snapshot), *_stopped(snapshot), *_of_service(snapshot)]
    for pod in snapshot.current:
        found += pod_states.troubles(pod, snapshot.events)
    found += _not_made(snapshot)
    found += _not_taken_up(snapshot, controller)
    found += _made_again_and_again(snapshot, controller)
    if not found:
        found += _not_routed(snapshot)
    return sorted(found, key=lambda trouble: trouble.patience)


def _of_service(snapshot: Snapshot) -> Iterator[Trouble]:
    """What KServe's controller itself reports."""
    failure = (snapshot.status.get("modelStatus") or {}).get("lastFailureInfo") or {}
    reason = str(failure.get("reason") or "")
    if reason in _FAILURES:
        text = f"{reason}: {failure.get('message') or 'without a message'}"
        yield of_cause(_FAILURES[reason], snapshot.shown, text, patience=10)
    for name in ("PredictorReady", "Ready"):
        condition = snapshot.condition(name)
        reason = str(condition.get("reason") or "")
        if condition.get("status") == "False" and reason in _FAILURES:
            text = f"{reason}: {condition.get('message') or 'without a message'}"
            yield of_cause(_FAILURES[reason], snapshot.shown, text, patience=5)
            break
    events = [one for one in snapshot.of_service(*_EVENTS) if _LOST_RACE not in str(one.get("message"))]
    if events:
        event = events[-1]
        reason = str(event.get("reason"))
        patience = 5.0 if reason == "ServerlessModeRejected" else pod_states.SHORT_PATIENCE
        text = f"{reason}: {str(event.get('message')).rstrip('.')}."
        yield of_cause(_EVENTS[reason], snapshot.shown, text, patience=patience)


def _deleting(snapshot: Snapshot) -> Iterator[Trouble]:
    """What holds it, if anything does, is the finalizer of a controller."""
    if snapshot.deleting:
        metadata = (snapshot.service or {})["metadata"]
        held = ", ".join(map(str, metadata.get("finalizers") or []))
        kept = f"{held} keeps it" if held else "is not gone yet"
        what = f"was deleted at {metadata['deletionTimestamp']}, and {kept}"
        yield of_cause("service-deleting", snapshot.shown, f"{what}.", patience=0)


def _stopped(snapshot: Snapshot) -> Iterator[Trouble]:
    """Somebody has asked KServe to hold it down."""
    annotations = ((snapshot.service or {}).get("metadata") or {}).get("annotations") or {}
    if str(annotations.get(STOP)).lower() == "true":
        yield of_cause("service-stopped", snapshot.shown, f"its annotation {STOP} stops it.", patience=0)


def _not_made(snapshot: Snapshot) -> Iterator[Trouble]:
    """Pods that no ReplicaSet or StatefulSet was allowed to make."""
    if snapshot.current:
        return
    prefix = f"{snapshot.name}-predictor" if snapshot.kind == "InferenceService" else snapshot.name
    for event in snapshot.events:
        involved = event.get("involvedObject") or {}
        if event.get("reason") == "FailedCreate" and str(involved.get("name")).startswith(prefix):
            text = str(event.get("message") or "")
            subject = f"{involved.get('kind')} {involved.get('name')}"
            yield of_cause(_refusal(text), subject, f"may not create its pods: {text}")
            return


def _refusal(text: str) -> str:
    """The cause of pods that the API server does not take, by its words."""
    if "security context constraint" in text or "PodSecurity" in text:
        return "pod-security"
    if "exceeded quota" in text:
        return "quota"
    return "service-account" if "serviceaccount" in text else "pods-refused"


def _not_taken_up(snapshot: Snapshot, controller: Controller | None) -> Iterator[Trouble]:
    """Nobody has written a status."""
    if snapshot.status.get("conditions") or snapshot.current:
        return
    cause = "not-taken-up"
    if snapshot.kind == "LeaderWorkerSet":
        what = f"no controller has processed it within {age(snapshot.age)}."
        hint = "Is the LeaderWorkerSet controller running (namespace lws-system, or its operator's)?"
    elif controller is not None and controller.available == 0:
        cause, what = "controller-down", "KServe's controller is not running."
        hint = f"See the Deployment kserve-controller-manager in namespace {controller.namespace}."
    else:
        what = f"KServe has created nothing for it within {age(snapshot.age)}, and reports no reason."
        hint = (
            "Does its controller run, and has the ServingRuntime a workerSpec? Without one the controller "
            "gives up silently; `multinode validate` shows it."
        )
    yield of_cause(cause, snapshot.shown, what, hint, TAKEN_UP)


def _made_again_and_again(snapshot: Snapshot, controller: Controller | None) -> Iterator[Trouble]:
    """kserve#6113: some releases take their own workers for orphans."""
    for name, times in snapshot.made.items():
        if times >= _REMADE:
            version = f" {controller.version}" if controller is not None and controller.version else ""
            what = f"KServe{version} deletes and recreates it, {times} times so far (kserve#6113)."
            yield of_cause("workers-remade", f"Deployment {name}", what, patience=0)


def _not_routed(snapshot: Snapshot) -> Iterator[Trouble]:
    """The pods are well, and the way to them is not."""
    condition = snapshot.condition("IngressReady")
    if snapshot.condition("PredictorReady").get("status") == "True" and condition.get("status") == "False":
        text = condition.get("message") or condition.get("reason") or "without a message"
        what = f"its pods serve, but its ingress is not ready: {text}"
        yield of_cause("ingress-not-ready", snapshot.shown, what, patience=60)


def state_words(snapshot: Snapshot) -> str:
    """What the service does, where nothing is wrong yet."""
    heads = [status for status in snapshot.heads.values() if status is not None]
    ready = snapshot.condition("Ready")
    if heads and all(head.state == "serving" for head in heads) and ready:
        text = ready.get("message") or ready.get("reason") or "no message"
        return f"its head serves, and its controller says Ready={ready.get('status')} ({text})"
    if heads:
        head = heads[0]
        return head.state + (f" ({head.reason})" if head.reason else "")
    waiting = [pod for pod in snapshot.current if not pod_states.ready(pod)]
    if waiting:
        return f"{_named(waiting[0])} is {pod_states.words(waiting[0])}"
    if not snapshot.pods_seen:
        return "its pods cannot be seen"
    if not snapshot.current:
        return "no pods yet"
    return str(ready.get("message") or ready.get("reason") or "not ready")


def _named(pod: Object) -> str:
    return f"pod {pod['metadata']['name']}"

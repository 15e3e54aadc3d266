"""What a Pod's status says, from how its local node is."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vllm_multinode.local.world.protocol import NodeStatus

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Seen:
    """How a Pod's only container is.

    Args:
        node: as the local runner sees it; None before it runs.
        started: whether its startup probe has passed.
        ready: whether its readiness probe passes.
    """

    node: NodeStatus | None
    started: bool = False
    ready: bool = False

    @property
    def running(self) -> bool:
        """Whether its program runs."""
        return self.node is not None and self.node.process in ("running", "frozen", "stopping")


def status(pod: Mapping[str, Any], seen: Seen) -> dict[str, Any]:
    """The status subresource's body; its times are those of the last change.

    Args:
        pod: as the API server had it last.
        seen: its container.
    """
    container = pod["spec"]["containers"][0]
    node = seen.node
    made: dict[str, Any] = {
        "phase": _phase(pod, seen),
        "conditions": [
            {"type": kind, "status": str(true), "lastTransitionTime": _changed(pod, kind, str(true))}
            for kind, true in _conditions(seen).items()
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": container["image"],
                "restartCount": 0 if node is None else node.restarts,
                "started": seen.running and seen.started,
                "ready": seen.running and seen.ready,
                "state": _state(seen),
                "lastState": _last_state(node),
            }
        ],
    }
    if node is not None:
        made |= {"podIP": node.address, "podIPs": [{"ip": node.address}], "hostIP": "127.0.0.1"}
    return made


def ended(pod: Mapping[str, Any], node: NodeStatus) -> bool:
    """Whether a Pod that is not started again has ended."""
    return pod["spec"].get("restartPolicy") == "Never" and node.process == "dead"


def _phase(pod: Mapping[str, Any], seen: Seen) -> str:
    node = seen.node
    if node is None:
        return "Pending"
    if ended(pod, node):
        return "Failed" if node.exit_code else "Succeeded"
    return "Running"


def _conditions(seen: Seen) -> dict[str, bool]:
    ready = seen.running and seen.ready
    return {
        "PodScheduled": True,
        "Initialized": True,
        "ContainersReady": ready,
        "Ready": ready,
    }


def _changed(pod: Mapping[str, Any], kind: str, status: str) -> str:
    for one in pod.get("status", {}).get("conditions", []):
        if one["type"] == kind and one["status"] == status and one.get("lastTransitionTime"):
            return str(one["lastTransitionTime"])
    return datetime.datetime.now(datetime.UTC).strftime(_TIME)


def _state(seen: Seen) -> dict[str, Any]:
    node = seen.node
    if node is None or node.process == "starting":
        return {"waiting": {"reason": "ContainerCreating"}}
    if seen.running:
        return {"running": {"startedAt": _time(node.since)}}
    if node.process == "restarting":
        return {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off before the next start"}}
    return _terminated(node)


def _last_state(node: NodeStatus | None) -> dict[str, Any]:
    return {} if node is None or node.exit_code is None else _terminated(node)


def _terminated(node: NodeStatus) -> dict[str, Any]:
    code = node.exit_code or 0
    return {
        "terminated": {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "message": node.termination,
            "finishedAt": _time(node.since),
        }
    }


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime(_TIME)

"""Waits for the Jobs that fill a claim, in their own words."""

import re
from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.authoring.render.fetch import NAME
from vllm_multinode.cluster import pod_states
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.patience import Awaited, Look
from vllm_multinode.cluster.pod_states import Trouble
from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.labels import COMPONENT

JOB: Final = ("batch/v1", "Job")
_AGAIN: Final = "Fix the cause, delete the Job, and deploy again: it resumes where it stopped."
_BAR: Final = 24
# 1.5 of 30.0 GiB (5 %), 210 MiB/s, 2 min left: see storage/progress.
_PROGRESS: Final = re.compile(r"[\d.]+ of [\d.]+ GiB \((\d+) %\).*")


def complete_job(cluster: Cluster, name: str) -> Awaited:
    """A Job that is to be complete; one that has failed ends the wait with its own reason."""
    resource = cluster.resource(*JOB)
    where = f"Job {cluster.namespace}/{name}"

    def look() -> Look | None:
        job = cluster.get(resource, name)
        if job is None:
            return None
        state, pod = _state(job), _newest_pod(cluster, name)
        if state == "Complete":
            return Look(over=True, line=bar(_last_words(cluster, pod)))
        if state == "Failed":
            raise MultinodeError(ExitCode.NOT_SERVING, _reason(job, pod), where=where, hint=_AGAIN)
        return Look(over=False, line=_line(cluster, pod), troubles=_troubles(cluster, pod))

    return Awaited(look, where, "complete")


def is_fetch(body: Mapping[str, Any]) -> bool:
    """Whether an object is a Job that fills a claim."""
    template = (body.get("spec") or {}).get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    return body.get("kind") == JOB[1] and labels.get(COMPONENT) == NAME


def is_complete(job: Object | None) -> bool:
    """Whether a Job is there and has done its work."""
    return job is not None and _state(job) == "Complete"


def bar(line: str) -> str:
    """A line of progress with a bar before it; any other line as it is."""
    found = _PROGRESS.search(line)
    if found is None:
        return line
    filled = min(_BAR * int(found[1]) // 100, _BAR)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {found[0]}"


def _state(job: Object) -> str:
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return str(condition["type"])
    return ""


def _newest_pod(cluster: Cluster, job: str) -> Object | None:
    found, _ = cluster.list(cluster.resource("v1", "Pod"), labels=f"job-name={job}")
    return max(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)


def _troubles(cluster: Cluster, pod: Object | None) -> list[Trouble]:
    """What keeps its pod from running; a pod that has failed is followed by another."""
    if pod is None or (pod.get("status") or {}).get("phase") != "Pending":
        return []
    events, _ = cluster.list(cluster.resource("v1", "Event"))
    return list(pod_states.troubles(pod, events))


def _line(cluster: Cluster, pod: Object | None) -> str:
    if pod is None:
        return "no pod yet"
    if (pod.get("status") or {}).get("phase") != "Running":
        return pod_states.words(pod)
    return bar(_last_words(cluster, pod) or "running")


def _last_words(cluster: Cluster, pod: Object | None) -> str:
    """The last line of its log, behind the time, the pod's name and the level that ours begin with."""
    said = cluster.log(str(pod["metadata"]["name"]), lines=1).strip() if pod is not None else ""
    _, _, text = said.partition(" INFO ")
    return text or said


def _reason(job: Object, pod: Object | None) -> str:
    """The last words of its pod, or those of the Job."""
    for container in ((pod or {}).get("status") or {}).get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated") or {}
        if text := str(ended.get("message") or "").strip():
            return f"has failed: {text.splitlines()[-1].removeprefix('multinode: ')}"
    conditions = (job.get("status") or {}).get("conditions") or [{}]
    return f"has failed: {conditions[-1].get('message') or conditions[-1].get('reason') or 'no reason given'}"

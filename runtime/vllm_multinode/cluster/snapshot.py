"""One service and its pods at one moment, and what can be read from it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vllm_multinode.cluster import pod_states as pod_reading
from vllm_multinode.cluster.supervisor import HeadStatus
from vllm_multinode.cluster.transport import Object
from vllm_multinode.platforms.names import GENERATION_LABEL

WORKER_INDEX: Final = "leaderworkerset.sigs.k8s.io/worker-index"


@dataclass(frozen=True)
class Snapshot:
    """What is known of one InferenceService or LeaderWorkerSet.

    Attributes:
        kind: InferenceService or LeaderWorkerSet.
        name: its name.
        namespace: its namespace.
        service: the object; None where there is none any more.
        pods: that carry its label.
        events: of its namespace.
        made: by name of a Deployment, how many there have been under that name.
        heads: what each head's supervisor answered, by pod; absent where it was not asked.
        age: seconds since the wait began.
        pods_seen: whether this login may list pods; where it may not, its controller's word has to do.
    """

    kind: str
    name: str
    namespace: str
    service: Object | None
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    made: Mapping[str, int] = field(default_factory=dict)
    heads: Mapping[str, HeadStatus | None] = field(default_factory=dict)
    age: float = 0
    pods_seen: bool = True

    @property
    def shown(self) -> str:
        """Such as InferenceService demo/llama."""
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def status(self) -> dict[str, Any]:
        """Of the object; empty before its controller has taken it up."""
        return (self.service or {}).get("status") or {}

    @property
    def generation(self) -> int:
        """Of the object's spec."""
        return int((self.service or {}).get("metadata", {}).get("generation") or 0)

    @property
    def deleting(self) -> bool:
        """Somebody has deleted it, and it is not gone yet: its status is of before."""
        return bool(((self.service or {}).get("metadata") or {}).get("deletionTimestamp"))

    def condition(self, name: str) -> dict[str, Any]:
        """One condition of the status; empty where it is not there."""
        found = self.status.get("conditions") or []
        return next((one for one in found if one.get("type") == name), {})

    @property
    def current(self) -> list[Object]:
        """Pods of this generation, the heads first; those that are about to go are left out."""
        kept = [
            pod for pod in self.pods if not pod["metadata"].get("deletionTimestamp") and self._is_current(pod)
        ]
        return sorted(kept, key=lambda pod: (not is_head(pod), str(pod["metadata"]["name"])))

    def _is_current(self, pod: Object) -> bool:
        labelled = (pod["metadata"].get("labels") or {}).get(GENERATION_LABEL)
        # To delete it is a change of its generation, and nobody makes pods of that.
        known = labelled is not None and self.kind == "InferenceService" and not self.deleting
        return not known or labelled == str(self.generation)

    @property
    def ready(self) -> bool:
        """Its controller says so, of this generation, and so does every head that can be asked."""
        if self.service is None or self.deleting or not self._controller_says_ready():
            return False
        if not self.pods_seen:
            return True
        heads = [pod for pod in self.current if is_head(pod)]
        if not heads or not all(pod_reading.ready(pod) for pod in heads):
            return False
        answers = [self.heads.get(str(pod["metadata"]["name"])) for pod in heads]
        return all(answer is None or answer.state == "serving" for answer in answers)

    def _controller_says_ready(self) -> bool:
        if int(self.status.get("observedGeneration") or self.generation) != self.generation:
            return False
        if self.kind == "InferenceService":
            return self.condition("Ready").get("status") == "True" or self.stuck
        wanted = int(((self.service or {}).get("spec") or {}).get("replicas", 1))
        counts = [int(self.status.get(key) or 0) for key in ("readyReplicas", "updatedReplicas")]
        return self.condition("Available").get("status") == "True" and min(counts) >= wanted

    @property
    def stuck(self) -> bool:
        """KServe v0.16 to v0.19 leave a service over several nodes at Unknown although it is ready.

        They compare the joined reasons of two Deployments with the reason of one (kserve#5703, in v0.20); the
        message tells that both have completed.
        """
        condition = self.condition("PredictorReady")
        complete = str(condition.get("message") or "").count("has successfully progressed") == 2
        others = [self.condition("IngressReady").get("status", "True")]
        return (
            condition.get("status") == "Unknown"
            and complete
            and "False" not in others
            and all(pod_reading.ready(pod) for pod in self.current)
        )

    @property
    def url(self) -> str:
        """Where clients reach it; empty where the status does not say."""
        address = self.status.get("address") or {}
        return str(self.status.get("url") or address.get("url") or "")

    def of_service(self, *reasons: str) -> list[Object]:
        """Warnings about the object since its spec was last written, the newest last."""
        if self.service is None:
            return []
        uid, since = self.service["metadata"].get("uid"), _last_written(self.service)
        found = [
            event
            for event in self.events
            if (event.get("involvedObject") or {}).get("uid") == uid
            and event.get("type") == "Warning"
            and happened(event) >= since
            and (not reasons or event.get("reason") in reasons)
        ]
        return sorted(found, key=happened)


def is_head(pod: Object) -> bool:
    """A head or leader, by KServe's or LeaderWorkerSet's labels."""
    labels = pod["metadata"].get("labels") or {}
    if WORKER_INDEX in labels:
        return bool(labels[WORKER_INDEX] == "0")
    return str(labels.get("app", "")).endswith("-predictor")


def happened(event: Object) -> str:
    """When, as the API writes times: they sort as text."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((one for one in times if one), event["metadata"].get("creationTimestamp") or ""))[:19]


def _last_written(service: Object) -> str:
    """When anything but the status was last written."""
    entries = service["metadata"].get("managedFields") or []
    times = [str(one.get("time") or "") for one in entries if one.get("subresource") != "status"]
    return max(times, default=str(service["metadata"].get("creationTimestamp") or ""))[:19]

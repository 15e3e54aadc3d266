"""Looks at services of a cluster: few requests, no more rights than it says, nothing that waits."""

import difflib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vllm_multinode.cluster import ownership, pod_states
from vllm_multinode.cluster.client import Cluster, Resource
from vllm_multinode.cluster.forward import api_key, forward_command, key_header, key_reference
from vllm_multinode.cluster.snapshot import Snapshot, is_head
from vllm_multinode.cluster.supervisor import (
    api_port,
    completion_of,
    engine_metrics,
    read_status,
    speaks_tls,
    supervisor_status,
    wants_client_certificate,
)
from vllm_multinode.cluster.transport import Object
from vllm_multinode.cluster.versions import Controller, listed_controller
from vllm_multinode.contract import ports
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate.numbers import Numbers
from vllm_multinode.operate.observation import Observation, pod_name
from vllm_multinode.operate.reading import container_of, unix
from vllm_multinode.operate.source import WayIn
from vllm_multinode.platforms import names

if TYPE_CHECKING:
    from vllm_multinode.operate.log_streams import Streams

T = TypeVar("T")

MOST_REQUESTS: Final = 10
"""Of one look, whatever there is to see: operating a service must not weigh on its API server."""
_ANSWER: Final = 1.5
"""Seconds for a supervisor or an engine, which answer from memory."""
_LOG_LINES: Final = 600
_AT_ONCE: Final = 4
_ALL: Final = 10_000
"""Objects of one list: a second page would be a second request."""
_NOTHING: Final[list[Object]] = []
_PODS: Final = "pods"

# Kubernetes' own kinds, and the two that services are of: no discovery is needed for what never changes.
INFERENCE_SERVICES: Final = Resource(*ownership.INFERENCE_SERVICE, "inferenceservices", namespaced=True)
LEADER_WORKER_SETS: Final = Resource(*ownership.LEADER_WORKER_SET, "leaderworkersets", namespaced=True)
PODS: Final = Resource("v1", "Pod", "pods", namespaced=True)
EVENTS: Final = Resource("v1", "Event", "events", namespaced=True)
CLAIMS: Final = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims", namespaced=True)


@dataclass
class Looks:
    """Counts the questions of one look, and keeps what could not be asked.

    Attributes:
        asked: requests so far.
        unseen: what could not be looked at, and for want of what.
        refused: the kinds that this login may not see.
    """

    asked: int = 0
    unseen: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def left(self) -> int:
        """Requests that may still be sent."""
        return MOST_REQUESTS - self.asked

    def ask(self, what: str, question: Callable[[], T], otherwise: T) -> T:
        """The answer; `otherwise` where this login may not ask, or the cluster does not know the kind.

        Raises:
            MultinodeError: the API is not reached, or does not know the login.
        """
        with self._lock:
            allowed = self.left > 0
            self.asked += allowed
        if not allowed:
            self._miss(f"{what}: not looked at, to ask the API server no more than {MOST_REQUESTS} times.")
            return otherwise
        try:
            return question()
        except MultinodeError as error:
            if error.code == ExitCode.KIND_MISSING:
                return otherwise
            if error.code != ExitCode.FORBIDDEN:
                raise
            self.refused.add(what)
            self._miss(f"{what}: {error.what}")
            return otherwise

    def _miss(self, sentence: str) -> None:
        if sentence not in self.unseen:
            self.unseen.append(sentence)


@dataclass(frozen=True)
class ClusterSource:
    """The services of one namespace.

    Args:
        cluster: where.
    """

    cluster: Cluster

    def observe(
        self, name: str = "", labels: str = "", *, deep: bool = False, counters: Sequence[str] = ()
    ) -> list[Observation]:
        """Look at the services of a name, of a label, or all of the namespace.

        Args:
            name: of a service, or of a deployment of several.
            labels: a selector.
            deep: look at logs, claims and the controller too, where that may say why one does not serve.
            counters: of the engines, those that are needed; all where empty.

        Raises:
            MultinodeError: NOT_SERVING: there is no such service; the login may not list services at all.
        """
        looks = Looks()
        services = self._services(name, labels, looks)
        pods = self._pods(services, looks)
        events = looks.ask("events", lambda: self._list(EVENTS, fields="type!=Normal"), _NOTHING)
        now = time.time()
        seen = [
            replace(self._snapshot(service, pods, events, now), pods_seen=_PODS not in looks.refused)
            for service in services
        ]
        supervisors, engines = self._ask_heads(seen, looks, counters)
        logs, claims, running = self._look_deeper(seen, looks) if deep else ({}, {}, None)
        return [
            self._observation(one, now, supervisors, engines, logs, claims, running, tuple(looks.unseen))
            for one in seen
        ]

    def streams(self, seen: Observation, since: float, *, several: bool) -> "Streams":
        """The logs of a service's nodes."""
        from vllm_multinode.operate.log_streams import ClusterStreams

        prefix = f"{seen.snapshot.name}/" if several else ""
        return ClusterStreams(self.cluster, since, prefix=prefix)

    def platform(self) -> Mapping[str, str]:
        """Versions of Kubernetes and KServe; what this login may not see is left out."""
        looks = Looks()
        kserve = looks.ask("KServe's controller", lambda: listed_controller(self.cluster), None)
        found = {"kubernetes": looks.ask("version", self.cluster.version, "")}
        if kserve is not None and kserve.version:
            found["kserve"] = kserve.version
        return {name: version for name, version in found.items() if version}

    def ask(self, seen: Observation, prompt: str, tokens: int) -> tuple[str, str]:
        """A greedy completion of the first head, and the engine's fingerprint."""
        return completion_of(self.cluster, seen.heads[0], prompt, tokens=tokens)

    def way_in(self, seen: Observation) -> WayIn:
        """A port to be forwarded, and the key of its first head."""
        return WayIn(key=api_key(self.cluster, seen.heads[0]) or "" if seen.heads else "")

    def _services(self, name: str, labels: str, looks: Looks) -> list[Object]:
        found: list[Object] = []
        others: list[str] = []
        refusals: list[MultinodeError] = []
        for resource in (INFERENCE_SERVICES, LEADER_WORKER_SETS):
            looks.asked += 1
            try:
                listed = self._list(resource, labels=labels)
            except MultinodeError as error:
                if error.code not in (ExitCode.KIND_MISSING, ExitCode.FORBIDDEN):
                    raise
                refusals.append(error)
                continue
            others += [str(one["metadata"]["name"]) for one in listed]
            found += [one for one in listed if not name or self._is_meant(one, name)]
            if name and found:
                break
        if found:
            return sorted(found, key=lambda one: str(one["metadata"]["name"]))
        if len(refusals) == 2 or any(error.code == ExitCode.FORBIDDEN for error in refusals):
            raise next((one for one in refusals if one.code == ExitCode.FORBIDDEN), refusals[0])
        raise _nothing(self.cluster.namespace, name, labels, others)

    def _is_meant(self, service: Object, name: str) -> bool:
        named = bool(service["metadata"]["name"] == name)
        return named or f"{self.cluster.namespace}/{name}" in ownership.deployments(service)

    def _list(self, resource: Resource, *, labels: str = "", fields: str = "") -> list[Object]:
        return self.cluster.list(resource, labels=labels, fields=fields, page_size=_ALL)[0]

    def _pods(self, services: Sequence[Object], looks: Looks) -> list[Object]:
        """Of these services: one label where one is asked for, all that carry a label otherwise."""
        found: list[Object] = []
        for kind, label in ownership.POD_LABELS.items():
            named = [str(one["metadata"]["name"]) for one in services if one["kind"] == kind]
            if named:
                selector = f"{label}={named[0]}" if len(named) == 1 else label
                found += looks.ask(_PODS, partial(self._list, PODS, labels=selector), _NOTHING)
        return found

    def _snapshot(
        self, service: Object, pods: Sequence[Object], events: Sequence[Object], now: float
    ) -> Snapshot:
        kind, name = str(service["kind"]), str(service["metadata"]["name"])
        label = ownership.POD_LABELS[kind]
        began = unix(service["metadata"].get("creationTimestamp"))
        return Snapshot(
            kind=kind,
            name=name,
            namespace=self.cluster.namespace,
            service=service,
            pods=[pod for pod in pods if (pod["metadata"].get("labels") or {}).get(label) == name],
            events=events,
            age=max(0.0, now - began) if began is not None else 0.0,
        )

    def _ask_heads(
        self, seen: Sequence[Snapshot], looks: Looks, counters: Sequence[str]
    ) -> tuple[dict[str, dict[str, Any] | None], dict[str, Numbers | None]]:
        """Supervisors first, those of pods that are not ready before all; engines with what is left."""
        heads = [pod for one in seen for pod in one.current if is_head(pod) and _runs(pod)]
        heads.sort(key=pod_states.ready)
        # What a deeper look needs is kept back: one service gets it whole.
        kept = 3 if len(heads) == 1 else 0
        room = max(0, looks.left - kept)
        supervised = heads[:room]
        counted = supervised[: max(0, room - len(supervised))]
        self._say_not_asked(len(heads) - len(supervised), looks)
        supervisors = self._ask_all(
            supervised, lambda pod: supervisor_status(self.cluster, pod, _ANSWER), looks, "supervisors"
        )
        # An engine that its own supervisor does not call up yet has nothing to say.
        counted = [pod for pod in counted if _may_serve(supervisors.get(pod_name(pod)))]
        closed = [pod_name(pod) for pod in counted if wants_client_certificate(pod)]
        counted = [pod for pod in counted if pod_name(pod) not in closed]
        if closed:
            looks.unseen.append(f"counters of {', '.join(closed)}: the API asks for a client's certificate.")
        return supervisors, self._counts(counted, looks, counters)

    def _counts(
        self, heads: Sequence[Object], looks: Looks, counters: Sequence[str]
    ) -> dict[str, Numbers | None]:
        """What engines count. One that does not select, as with several API servers, is asked for all."""

        def ask(pods: Sequence[Object], selected: Sequence[str]) -> dict[str, Numbers | None]:
            texts = self._ask_all(
                pods,
                lambda pod: engine_metrics(self.cluster, pod, _ANSWER, selected),
                looks,
                "the engine's counters",
            )
            return {name: None if text is None else Numbers.read(text) for name, text in texts.items()}

        found = ask(heads, counters)
        empty = [pod for pod in heads if (one := found.get(pod_name(pod))) is not None and not one.samples]
        return found | ask(empty, ()) if counters and empty else found

    def _ask_all(
        self, pods: Sequence[Object], question: Callable[[Object], T], looks: Looks, what: str
    ) -> dict[str, T]:
        """Several at once: one that is silent does not hold the others up."""
        missing = object()

        def ask(pod: Object) -> T | object:
            return looks.ask(what, lambda: question(pod), missing)

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            answers = list(threads.map(ask, pods))
        return {
            pod_name(pod): answer  # type: ignore[misc]
            for pod, answer in zip(pods, answers, strict=True)
            if answer is not missing
        }

    @staticmethod
    def _say_not_asked(count: int, looks: Looks) -> None:
        if count > 0:
            looks.unseen.append(
                f"supervisors of {count} more heads: not asked, to ask the API server no more than "
                f"{MOST_REQUESTS} times; name a service for all of it."
            )

    def _look_deeper(
        self, seen: Sequence[Snapshot], looks: Looks
    ) -> tuple[dict[str, str], dict[str, Object], Controller | None]:
        """What may say why one does not serve."""
        pods = [pod for one in seen for pod in one.current]
        logs: dict[str, str] = {}
        written = [pod for pod in pods if _has_run(pod)]
        self._read_logs([pod for pod in written if is_head(pod)][:1], logs, looks)
        claims: dict[str, Object] = {}
        if any(not _runs(pod) for pod in pods):
            listed = looks.ask("claims", lambda: self._list(CLAIMS), _NOTHING)
            claims = {str(one["metadata"]["name"]): one for one in listed}
        running = None
        if any(not one.status.get("conditions") and not one.current for one in seen):
            running = looks.ask("KServe's controller", lambda: listed_controller(self.cluster), None)
        if len(seen) == 1:
            # What is left is for the workers', whose ranks speak there.
            self._read_logs([pod for pod in written if not is_head(pod)][: looks.left], logs, looks)
        return logs, claims, running

    def _read_logs(self, pods: Sequence[Object], logs: dict[str, str], looks: Looks) -> None:
        def last_lines(pod: Object) -> str:
            return self.cluster.log(pod_name(pod), lines=_LOG_LINES, container=container_of(pod))

        logs |= self._ask_all(pods, last_lines, looks, "logs")

    def _observation(
        self,
        snapshot: Snapshot,
        now: float,
        supervisors: Mapping[str, dict[str, Any] | None],
        engines: Mapping[str, Numbers | None],
        logs: Mapping[str, str],
        claims: Mapping[str, Object],
        running: Controller | None,
        unseen: tuple[str, ...],
    ) -> Observation:
        names = [pod_name(pod) for pod in snapshot.current]
        own = {name: found for name in names if (found := supervisors.get(name)) is not None}
        heads = {name: read_status(found) for name, found in own.items()}
        known = replace(snapshot, heads=heads)
        return Observation(
            snapshot=known,
            now=now,
            supervisors=own,
            silent=frozenset(name for name in names if name in supervisors and name not in own),
            engines={name: engines[name] for name in names if name in engines},
            logs={name: logs[name] for name in names if name in logs},
            claims=claims,
            controller=running,
            entrance=tuple(_entrance(known)),
            unseen=unseen,
        )


def _may_serve(said: dict[str, Any] | None) -> bool:
    return said is None or said.get("state") in ("serving", "draining")


def _runs(pod: Object) -> bool:
    return bool((pod.get("status") or {}).get("phase") == "Running")


def _has_run(pod: Object) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return any(one.get("started") or one.get("restartCount") for one in statuses) or _runs(pod)


def _entrance(snapshot: Snapshot) -> Iterable[str]:
    """How to send a request from where this command runs."""
    head = next((pod for pod in snapshot.current if is_head(pod)), None)
    reference = None if head is None else key_reference(head)
    key = "" if reference is None else key_header(snapshot.namespace, *reference)
    scheme = "https" if head is not None and speaks_tls(head) else "http"
    body = f'{{"model": "{snapshot.name}", "prompt": "One two three", "max_tokens": 16}}'
    if snapshot.kind == "InferenceService":
        port = ports.API if head is None else api_port(head)
        predictor = (snapshot.service or {}).get("spec", {}).get("predictor") or {}
        deployment = names.predictor(snapshot.name, str(predictor.get("name") or ""))
        yield forward_command(snapshot.namespace, f"deployment/{deployment}", port)
    else:
        yield forward_command(snapshot.namespace, f"service/{snapshot.name}-api", 80)
    yield (
        f"curl{' -k' if scheme == 'https' else ''} {scheme}://localhost:{ports.API}/v1/completions "
        f"-H 'Content-Type: application/json'{key} -d '{body}'"
    )


def _nothing(namespace: str, name: str, labels: str, others: Sequence[str]) -> MultinodeError:
    hint = "Give another namespace with -n."
    if name:
        what = f"there is no InferenceService, LeaderWorkerSet or deployment '{name}'."
        if near := difflib.get_close_matches(name, others, 1):
            hint = f"Did you mean {near[0]}? Or give another namespace with -n."
    elif labels:
        what = f"no InferenceService or LeaderWorkerSet has the label {labels}."
    else:
        what = "there is no InferenceService or LeaderWorkerSet."
    return MultinodeError(ExitCode.NOT_SERVING, what, where=f"namespace {namespace}", hint=hint)

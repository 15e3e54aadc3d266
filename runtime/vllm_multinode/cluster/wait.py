"""Waits until services serve, or until it is clear why they do not."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, NamedTuple

from vllm_multinode.cluster import ownership
from vllm_multinode.cluster.changes import Feed
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.deploy import objects_of
from vllm_multinode.cluster.diagnosis import TAKEN_UP, diagnose, state_words
from vllm_multinode.cluster.patience import Patience
from vllm_multinode.cluster.pauses import pause
from vllm_multinode.cluster.pod_states import Trouble
from vllm_multinode.cluster.snapshot import Snapshot, is_head
from vllm_multinode.cluster.supervisor import HeadStatus, head_status
from vllm_multinode.cluster.versions import Controller, controller
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

TIMEOUT: Final = 3600.0
"""Seconds; the launcher gives an engine as much to start (MULTINODE_START_TIMEOUT)."""
_TICK: Final = 2.0
"""Seconds between two questions to the heads; everything else is watched."""


class Target(NamedTuple):
    """A service to wait for."""

    api_version: str
    kind: str
    name: str


def targets(cluster: Cluster, name: str) -> list[Target]:
    """The services of a name: one that has it, or those of the deployment that has it.

    Raises:
        MultinodeError: NOT_SERVING: there is none; KIND_MISSING where neither kind is known.
    """
    found: list[Target] = []
    missing: list[MultinodeError] = []
    for api_version, kind in (ownership.INFERENCE_SERVICE, ownership.LEADER_WORKER_SET):
        try:
            if cluster.get(cluster.resource(api_version, kind), name) is not None:
                found.append(Target(api_version, kind, name))
        except MultinodeError as error:
            if error.code != ExitCode.KIND_MISSING:
                raise
            missing.append(error)
    if len(missing) == 2:
        raise missing[0]
    found += [
        Target(item.resource.api_version, item.resource.kind, item.name)
        for item in objects_of(cluster, f"{cluster.namespace}/{name}")
        if item.resource.kind in ownership.SERVICES and item.name != name
    ]
    if not found:
        raise MultinodeError(
            ExitCode.NOT_SERVING,
            f"there is no InferenceService, LeaderWorkerSet or deployment '{name}'.",
            where=f"namespace {cluster.namespace}",
            hint="Deploy it first, or give its namespace with -n.",
        )
    return found


class Waiter:
    """Follows one service.

    Args:
        cluster: where.
        target: the service.
    """

    def __init__(self, cluster: Cluster, target: Target) -> None:
        self._cluster = cluster
        self._target = target
        self._started = time.monotonic()
        self._proxy = True
        self._patience = Patience()
        self._controller: Controller | None = None
        self._looked_at = -math.inf
        self.remark = ""
        self.changed = threading.Event()
        label = f"{ownership.POD_LABELS[target.kind]}={target.name}"
        one = f"metadata.name={target.name}"
        resource = cluster.resource(target.api_version, target.kind)
        self._service = Feed(cluster, resource, self.changed, fields=one)
        self._pods = Feed(cluster, cluster.resource("v1", "Pod"), self.changed, labels=label)
        self._events = Feed(cluster, cluster.resource("v1", "Event"), self.changed)
        self._deployments = Feed(
            cluster, cluster.resource("apps/v1", "Deployment"), self.changed, labels=label
        )
        self._feeds = (self._service, self._pods, self._events, self._deployments)

    @contextmanager
    def following(self) -> Iterator[None]:
        """While it is open, everything is watched."""
        for feed in self._feeds:
            feed.start()
        try:
            self._settle()
            yield
        finally:
            for feed in self._feeds:
                feed.stop()
            for feed in self._feeds:
                feed.join(timeout=1)

    def _settle(self) -> None:
        """Wait for the first lists, so that an empty one is not taken for nothing there."""
        deadline = time.monotonic() + 30
        while not all(feed.listed or feed.error for feed in self._feeds) and time.monotonic() < deadline:
            self.changed.wait(0.05)
            self.changed.clear()

    def look(self) -> Snapshot:
        """How it is now.

        Raises:
            MultinodeError: the service or its pods may not be watched any more.
        """
        for feed in (self._service, self._pods):
            if feed.error is not None:
                raise feed.error
        services, pods = self._service.objects, self._pods.objects
        snapshot = Snapshot(
            kind=self._target.kind,
            name=self._target.name,
            namespace=self._cluster.namespace,
            service=services[-1] if services else None,
            pods=pods,
            events=self._events.objects,
            made=dict(self._deployments.made),
            age=time.monotonic() - self._started,
        )
        heads = {}
        for pod in snapshot.current:
            if is_head(pod) and (pod.get("status") or {}).get("phase") == "Running":
                heads[str(pod["metadata"]["name"])] = self._ask(pod)
        return replace(snapshot, heads=heads)

    def _ask(self, pod: dict[str, object]) -> HeadStatus | None:
        if not self._proxy:
            return None
        try:
            return head_status(self._cluster, pod)
        except MultinodeError as error:
            if error.code == ExitCode.FORBIDDEN:
                self._proxy = False
                self.remark = (
                    "This login may not query the head (pods/proxy); the pods' conditions are shown instead."
                )
            elif error.code == ExitCode.UNAUTHORIZED:
                raise
            return None

    def verdict(self, snapshot: Snapshot) -> Trouble | None:
        """Why it will not come to serve; None where it still may."""
        overdue = snapshot.age - self._looked_at > TAKEN_UP / 2 and not snapshot.status.get("conditions")
        if self._target.kind == "InferenceService" and overdue:
            self._looked_at = snapshot.age
            self._look_at_controller()
        troubles = diagnose(snapshot, self._controller)
        return self._patience.used_up(troubles, time.monotonic())

    def _look_at_controller(self) -> None:
        try:
            self._controller = controller(self._cluster)
        except MultinodeError as error:
            # It only makes a diagnosis better; a lost connection is the feeds' to tell.
            if error.code == ExitCode.UNAUTHORIZED:
                raise

    def lost(self) -> MultinodeError | None:
        """Why nothing new is seen at present."""
        return next((feed.lost for feed in self._feeds if feed.lost is not None), None)


def wait(
    cluster: Cluster,
    target: Target,
    *,
    timeout: float = TIMEOUT,
    show: Callable[[Snapshot], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    cancel: threading.Event | None = None,
) -> Snapshot:
    """Wait until a service serves.

    Args:
        cluster: where.
        target: the service.
        timeout: seconds.
        show: called with what is known, each time that may have changed.
        say: called with a line that the reader should know.
        cancel: ends the wait when it is set, within two seconds.

    Returns:
        The service as it was when it served.

    Raises:
        MultinodeError: NOT_SERVING, with the reason and how to fix it; or the API cannot be used any more.
    """
    deadline = time.monotonic() + timeout
    waiter = Waiter(cluster, target)
    told: set[str] = set()
    with waiter.following():
        while True:
            snapshot = waiter.look()
            show(snapshot)
            if snapshot.ready and not waiter.lost():
                return snapshot
            if trouble := waiter.verdict(snapshot):
                raise _failure(snapshot, trouble.subject, trouble.what, trouble.hint)
            for remark in _remarks(waiter):
                if remark not in told:
                    told.add(remark)
                    say(remark)
            left = deadline - time.monotonic()
            if left <= 0:
                raise _late(snapshot, waiter, timeout)
            waiter.changed.wait(min(_TICK, left))
            waiter.changed.clear()
            pause(0, cancel)


def _remarks(waiter: Waiter) -> list[str]:
    lost = waiter.lost()
    return [text for text in (waiter.remark, f"Lost sight of it: {lost}" if lost else "") if text]


def _late(snapshot: Snapshot, waiter: Waiter, timeout: float) -> MultinodeError:
    if lost := waiter.lost():
        return lost
    troubles = diagnose(snapshot)
    if troubles:
        return _failure(snapshot, troubles[0].subject, troubles[0].what, troubles[0].hint)
    what = f"does not serve after {timeout:g} s: {state_words(snapshot)}."
    return _failure(snapshot, snapshot.shown, what, "Increase --timeout, or see the head's log.")


def _failure(snapshot: Snapshot, subject: str, what: str, hint: str) -> MultinodeError:
    where = snapshot.shown if subject == snapshot.shown else f"{snapshot.shown}: {subject}"
    return MultinodeError(ExitCode.NOT_SERVING, what, where=where, hint=hint)

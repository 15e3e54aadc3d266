"""The objects of a kind as they are now, kept by list and watch, through lost connections."""

import threading
from typing import Final

from vllm_multinode.cluster.client import Cluster, Resource
from vllm_multinode.cluster.transport import ExpiredError, Object, Watching
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

_FINAL: Final = (ExitCode.UNAUTHORIZED, ExitCode.FORBIDDEN, ExitCode.KIND_MISSING)
"""What trying again does not help."""
_WATCH_SECONDS: Final = 240
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 10.0


class Feed:
    """Follows one kind in a thread of its own.

    Args:
        cluster: where.
        resource: the kind.
        changed: set each time anything is new.
        labels: selector.
        fields: selector.

    Attributes:
        error: why it has ended by itself.
        lost: why it sees nothing new at present.
        listed: whether it has seen anything yet.
        made: by name, how many different objects there have been.
    """

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        changed: threading.Event,
        *,
        labels: str = "",
        fields: str = "",
    ) -> None:
        self.error: MultinodeError | None = None
        self.lost: MultinodeError | None = None
        self.listed = False
        self.made: dict[str, int] = {}
        self._cluster = cluster
        self._resource = resource
        self._changed = changed
        self._labels = labels
        self._fields = fields
        self._lock = threading.Lock()
        self._objects: dict[str, Object] = {}
        self._known: set[str] = set()
        self._stopping = threading.Event()
        self._watching: Watching | None = None
        self._thread = threading.Thread(target=self._run, name=f"feed-{resource.plural}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End it; a connection that does not let go is left to the process's end."""
        self._stopping.set()
        if self._watching is not None:
            self._watching.stop()

    def join(self, timeout: float) -> None:
        """Wait for its end, for `timeout` seconds at most."""
        self._thread.join(timeout)

    @property
    def objects(self) -> list[Object]:
        """As they are now, the oldest first."""
        with self._lock:
            found = list(self._objects.values())
        return sorted(found, key=lambda one: str(one["metadata"].get("creationTimestamp")))

    def _run(self) -> None:
        wait = _FIRST_WAIT
        while not self._stopping.is_set():
            try:
                since = self._list()
                wait = _FIRST_WAIT
                while not self._stopping.is_set():
                    since = self._watch(since)
            except ExpiredError:
                continue
            except MultinodeError as error:
                if error.code in _FINAL:
                    self.error = error
                    self._changed.set()
                    return
                self.lost = error
                self._changed.set()
                self._stopping.wait(wait)
                wait = min(wait * 2, _LONGEST_WAIT)

    def _list(self) -> str:
        items, since = self._cluster.list(self._resource, labels=self._labels, fields=self._fields)
        with self._lock:
            self._objects.clear()
        for item in items:
            self._keep(item)
        self.lost = None
        self.listed = True
        self._changed.set()
        return since

    def _watch(self, since: str) -> str:
        """Follow changes until the API server ends the watch; returns where to go on."""
        self._watching = self._cluster.watch(
            self._resource, since=since, seconds=_WATCH_SECONDS, labels=self._labels, fields=self._fields
        )
        if self._stopping.is_set():
            # It was stopped while the watch was being opened.
            self._watching.stop()
        for change, item in self._watching:
            since = str(item["metadata"].get("resourceVersion") or since)
            if change == "DELETED":
                with self._lock:
                    self._objects.pop(str(item["metadata"].get("uid")), None)
            elif change != "BOOKMARK":
                self._keep({**item, "apiVersion": self._resource.api_version, "kind": self._resource.kind})
            if change != "BOOKMARK":
                self._changed.set()
        return since

    def _keep(self, item: Object) -> None:
        uid, name = str(item["metadata"].get("uid")), str(item["metadata"]["name"])
        with self._lock:
            self._objects[uid] = item
            if uid not in self._known:
                self._known.add(uid)
                self.made[name] = self.made.get(name, 0) + 1

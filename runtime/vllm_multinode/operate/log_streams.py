"""Where the logs of nodes are read: through the API of a cluster, or from the files of local runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.snapshot import is_head
from vllm_multinode.cluster.transport import Object
from vllm_multinode.local.rundir import Runs
from vllm_multinode.operate.logs import Line, merged, read
from vllm_multinode.operate.observation import Observation, pod_name
from vllm_multinode.operate.reading import container_of
from vllm_multinode.operate.status import status_of

MOST_LINES: Final = 10_000
_CHUNK: Final = 8 << 20
"""Bytes of a file's end that are read at first: more than anybody reads."""


class Streams(Protocol):
    """The logs of one service's nodes."""

    def now(self, seen: Observation) -> list[Line]:
        """What is there, the oldest first; at a later call what has come since."""

    def earlier(self, seen: Observation) -> list[Line]:
        """What containers wrote that have ended since, and their termination logs."""


@dataclass
class ClusterStreams:
    """Through the API: one request for each pod.

    Args:
        cluster: where.
        since: Unix time in seconds of the oldest line.
        lines: of each pod, at most.
        prefix: of the nodes' names, to tell several services apart.
    """

    cluster: Cluster
    since: float = 0.0
    lines: int = MOST_LINES
    prefix: str = ""
    _last: dict[str, float] = field(default_factory=dict)
    _shown: dict[str, set[str]] = field(default_factory=dict)

    def now(self, seen: Observation) -> list[Line]:
        """What is there, or has come since."""
        return merged(self._of_pod(seen, pod, name) for pod, name in _named(seen, self.prefix))

    def earlier(self, seen: Observation) -> list[Line]:
        """Of the containers before the last restart."""
        return merged(self._before(pod, name) for pod, name in _named(seen, self.prefix))

    def _of_pod(self, seen: Observation, pod: Object, name: str) -> Iterator[Line]:
        own = pod_name(pod)
        since = self._last.get(own, self.since)
        text = self.cluster.log(
            own, lines=self.lines, container=container_of(pod), since=_written(since), timestamps=True
        )
        # The API takes whole seconds: what was shown of the last one comes again.
        shown = self._shown.setdefault(own, set())
        raw = [line for line in text.splitlines() if line not in shown]
        for line in read(
            "\n".join(raw),
            node=name,
            role=_role(pod),
            pod=own,
            began=since,
            stamped=True,
            machine=_machine(pod),
        ):
            self._last[own] = line.at
            if line.at >= self.since:
                yield line
        last = int(self._last.get(own, 0.0))
        self._shown[own] = (
            {line for line in text.splitlines() if line[:19] >= _written(last)[:19]} if last else set()
        )

    def _before(self, pod: Object, name: str) -> Iterator[Line]:
        own, role = pod_name(pod), _role(pod)
        text = self.cluster.log(
            own,
            lines=self.lines,
            container=container_of(pod),
            since=_written(self.since),
            previous=True,
            timestamps=True,
        )
        lines = list(read(text, node=name, role=role, pod=own, stamped=True, machine=_machine(pod)))
        yield from lines
        yield from _terminations(pod, name, lines[-1].at if lines else 0.0)


@dataclass
class LocalStreams:
    """From the files of a run.

    Args:
        run: its name.
        runs: where it is.
        since: Unix time in seconds of the oldest line.
        prefix: of the nodes' names, to tell several runs apart.
    """

    run: str
    runs: Runs
    since: float = 0.0
    prefix: str = ""
    _read_to: dict[str, int] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)

    def now(self, seen: Observation) -> list[Line]:
        """What is there, or has come since."""
        return merged(self._of_file(pod, name) for pod, name in _named(seen, self.prefix))

    def earlier(self, seen: Observation) -> list[Line]:
        """Of pods that are gone, and the last words of containers that have ended."""
        living = {pod_name(pod) for pod in seen.snapshot.current}
        gone = [path for path in sorted(self._folder.glob("*.log")) if path.stem not in living]
        streams: list[list[Line]] = [
            list(read(end_of(path, 0)[0], node=path.stem, role=_by_name(path.stem), pod=path.stem))
            for path in gone
        ]
        streams += [list(_terminations(pod, name, 0.0)) for pod, name in _named(seen, self.prefix)]
        return [line for line in merged(streams) if not line.at or line.at >= self.since]

    @property
    def _folder(self) -> Path:
        directory = self.runs.find(self.run)
        return Path(directory.info.logs) if directory.info is not None else directory.logs

    def _of_file(self, pod: Object, name: str) -> Iterator[Line]:
        own = pod_name(pod)
        path = self._folder / f"{own}.log"
        if not path.is_file():
            return
        text, self._read_to[own] = end_of(path, self._read_to.get(own, 0))
        for line in read(
            text, node=name, role=_role(pod), pod=own, began=self._last.get(own, 0.0), machine=_machine(pod)
        ):
            self._last[own] = line.at
            if line.at >= self.since:
                yield line


def end_of(path: Path, start: int) -> tuple[str, int]:
    """Whole lines of a file from a byte on, and where to go on."""
    size = path.stat().st_size
    start = max(start, size - _CHUNK) if start <= size else 0
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    whole = data.rfind(b"\n") + 1
    return data[:whole].decode(errors="replace"), start + whole


def _named(seen: Observation, prefix: str) -> Sequence[tuple[Object, str]]:
    """Each pod, and what its node is called: its rank, or its pod where it has none."""
    ranks = {one.pod: one.rank for one in status_of(seen).ranks}
    pods = sorted(
        seen.snapshot.current,
        key=lambda pod: (ranks.get(pod_name(pod)) is None, ranks.get(pod_name(pod)) or 0),
    )
    return [
        (pod, prefix + (pod_name(pod) if (rank := ranks.get(pod_name(pod))) is None else str(rank)))
        for pod in pods
    ]


def _terminations(pod: Object, name: str, at: float) -> Iterator[Line]:
    """What ended containers have left as their last word."""
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        for state in ("lastState", "state"):
            ended = (container.get(state) or {}).get("terminated") or {}
            if ended:
                said = " ".join(str(ended.get("message") or "").split())
                text = f"exit code {ended.get('exitCode')}" + (f": {said}" if said else "")
                for line in read(text, node=name, role=_role(pod), pod=pod_name(pod), began=at):
                    yield Line(line.at, line.node, line.role, line.pod, "kubelet", line.text, _machine(pod))


def _role(pod: Object) -> str:
    return "head" if is_head(pod) else "worker"


def _machine(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _by_name(pod: str) -> str:
    return "worker" if "-worker" in pod else "head"


def _written(at: float) -> str:
    """A time as the API reads it; empty for none."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""

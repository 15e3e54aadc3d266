"""The group that is saturated, and whether it stays as it was."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from engine.services import LocalGroup, open_group, service
from saturate.kinds import Kind
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.launcher.engine_api import parse_metrics
from vllm_multinode.local.run import isvc

_START: Final = 400.0
_LOOK: Final = 0.2


@contextlib.contextmanager
def serving(
    folder: Path, model: Path, kind: Kind, executor: ExecutorName, hang: float
) -> Iterator[LocalGroup]:
    """Two nodes of one service, from when they serve to their end."""
    environment = {
        "MULTINODE_HANG_TIMEOUT": f"{hang:g}",
        # A start of Ray that loses against what else this machine does is not what is looked at.
        "MULTINODE_START_ATTEMPTS": "10",
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
    }
    local = service(
        model,
        executor=executor,
        tp=2 if kind.tensor_parallel else 1,
        pp=1 if kind.tensor_parallel else 2,
        head_gpus=1,
        worker_gpus=1,
        args=("--dtype", "float32", *kind.arguments),
        env=environment,
    )
    group = open_group(folder, isvc.pods(local, isvc.cache_directory()))
    with group.run:
        group.wait_for("serving", seconds=_START)
        yield group


@dataclass
class Seen:
    """What was seen of a group.

    Attributes:
        looks: how often it was looked at.
        not_ready: how often `/ready` of the head was not 200.
        queue: the most requests that its scheduler had, running and waiting.
        still: seconds, the longest time in which `/metrics` was seen to stand still: from one answer to the
            moment at which another with the same values was asked for.
        silent: seconds, the longest time in which `/metrics` gave no answer. It tells nothing of steps.
        before: what the head said of its state when the load began.
        after: what it said at the end.
        restarts: of containers.
    """

    looks: int = 0
    not_ready: int = 0
    queue: float = 0
    still: float = 0
    silent: float = 0
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0

    def lines(self) -> Iterator[str]:
        """In words."""
        yield (
            f"looked at {self.looks} times; at most {self.queue:.0f} requests in the engine; "
            f"at most {self.still:.1f} s without a step, and {self.silent:.1f} s without /metrics"
        )

    def problems(self) -> Iterator[str]:
        """What should not have happened."""
        if self.not_ready:
            yield f"/ready was not 200 {self.not_ready} times"
        if self.after != self.before:
            yield f"the head says {self.after}, and said {self.before}"
        if self.restarts:
            yield f"{self.restarts} containers were started again"


class Watch:
    """Looks at a group, apart from its load, until it is ended."""

    def __init__(self, group: LocalGroup) -> None:
        self._group = group
        self._seen = Seen(before=_state(group))
        self._over = threading.Event()
        self._threads = [threading.Thread(target=look) for look in (self._look, self._count)]
        for thread in self._threads:
            thread.start()

    def _look(self) -> None:
        while not self._over.wait(_LOOK):
            self._seen.looks += 1
            self._seen.not_ready += self._group.ready() != 200

    def _count(self) -> None:
        step: tuple[float, ...] = ()
        since = answered = time.monotonic()
        while not self._over.wait(_LOOK):
            asked = time.monotonic()
            with contextlib.suppress(OSError):
                with urlopen(f"{self._group.apis['head']}/metrics", timeout=60) as answer:
                    sample = parse_metrics(answer.read().decode(), 0)
                answered = time.monotonic()
                self._seen.queue = max(self._seen.queue, sample.requests)
                if sample.step != step:
                    step, since = sample.step, answered
                self._seen.still = max(self._seen.still, asked - since)
            self._seen.silent = max(self._seen.silent, time.monotonic() - min(asked, answered))

    def end(self) -> Seen:
        """What was seen."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._seen.after = _state(self._group)
        self._seen.restarts = sum(node.restarts for node in self._group.nodes)
        return self._seen


def _state(group: LocalGroup) -> dict[str, Any]:
    status = group.status()
    return {name: status.get(name) for name in ("state", "epoch", "recoveries", "last_incident")}

"""All that was seen of one service at one moment, wherever it runs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vllm_multinode.cluster.snapshot import Snapshot, is_head
from vllm_multinode.cluster.transport import Object
from vllm_multinode.cluster.versions import Controller
from vllm_multinode.operate.numbers import Numbers

Place = Literal["cluster", "local"]


@dataclass(frozen=True)
class Observation:
    """One service.

    Attributes:
        snapshot: its object, its pods and their events. The nodes of a local run stand in it as pods.
        now: Unix time in seconds at which it was seen.
        place: where it runs.
        supervisors: by pod, what `/status` of its supervisor answered.
        engines: by head's pod, what the engine counts; None where it was asked and did not answer.
        silent: heads' pods whose supervisor was asked and did not answer.
        cut: nodes of a local run whose network link is down.
        logs: by pod, the last lines that it has written.
        claims: by name, the claims of its namespace that its pods name.
        controller: KServe's, where it was asked for and could be seen.
        entrance: what a client does to send a request, one line each.
        unseen: what could not be looked at, and for want of what, a sentence each.
    """

    snapshot: Snapshot
    now: float
    place: Place = "cluster"
    supervisors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    engines: Mapping[str, Numbers | None] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    cut: frozenset[str] = frozenset()
    logs: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, Object] = field(default_factory=dict)
    controller: Controller | None = None
    entrance: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Such as InferenceService demo/llama, or local run llm."""
        return f"local run {self.snapshot.name}" if self.place == "local" else self.snapshot.shown

    @property
    def heads(self) -> list[Object]:
        """The pods of the heads, of this generation."""
        return [pod for pod in self.snapshot.current if is_head(pod)]

    @property
    def head_status(self) -> Mapping[str, Any]:
        """What the first head that answered says; empty where none did."""
        return next(
            (self.supervisors[name] for pod in self.heads if (name := pod_name(pod)) in self.supervisors), {}
        )


def pod_name(pod: Object) -> str:
    """Of a pod."""
    return str(pod["metadata"]["name"])

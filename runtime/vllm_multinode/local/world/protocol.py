"""What is said on a run's control socket: one JSON document a line, a reply for each request."""

from typing import Literal

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.messages import Loading
from vllm_multinode.local.world.pod_spec import PodSpec, Role

Process = Literal["starting", "running", "frozen", "stopping", "restarting", "dead"]
Action = Literal["kill", "freeze", "thaw", "cut", "join", "replace", "stop", "start", "remove"]
Command = Literal["status", "watch", "add", "end"] | Action

LINE_LIMIT = 1 << 20
"""Bytes of the longest line on either side."""

Families = Literal["ipv4", "ipv6", "dual-stack", "crossed"]
"""Of pods' addresses: one family, or both with IPv4 first. The names of Services lead to all of them, but to
IPv6 alone where they are crossed."""


class Request(Frozen):
    """`watch` is answered by a line each time the status changes, until the asker hangs up."""

    command: Command
    node: str = ""
    stay_dead: bool = False
    """With kill: do not restart it."""
    grace: float | None = None
    """With stop, replace, remove and end: seconds before SIGKILL, each pod's own where None."""
    spec: PodSpec | None = None


class NodeStatus(Frozen):
    """One node, now."""

    node: str
    pod: str
    role: Role
    address: str
    process: Process
    cut: bool = False
    restarts: int = 0
    exit_code: int | None = None
    """How the last container ended; 128 + N for signal N."""
    termination: str = ""
    """Its termination log."""
    state: str = ""
    """What its supervisor says: preflight, forming, starting, serving, recovering, draining, failed."""
    reason: str = ""
    rank: int | None = None
    epoch: int | None = None
    loading: Loading | None = None
    """How many weight files its engine has done with, while it starts."""
    since: float = 0.0
    """Unix time of the last change of state or process."""

    @property
    def shown(self) -> str:
        """Its state in a few words, the process's where that is what matters."""
        if self.process == "running":
            words = " ".join(filter(None, (self.state or "running", self.reason)))
            if self.loading is not None:
                words += f", weights {self.loading.done}/{self.loading.total}"
        elif self.process == "restarting":
            words = f"restarting {self.restarts}"
        else:
            words = self.process
        if self.process in ("restarting", "dead") and self.exit_code is not None:
            words += f" (exit {self.exit_code})"
        return f"{words}, cut off" if self.cut else words


class RunStatus(Frozen):
    """A run, now."""

    run: str
    url: str = ""
    supervisor_url: str = ""
    nodes: tuple[NodeStatus, ...] = ()

    @property
    def head(self) -> NodeStatus | None:
        """The first head."""
        return next((node for node in self.nodes if node.role == "head"), None)

    @property
    def serving(self) -> bool:
        """Whether a head says that its group serves."""
        return any(node.role == "head" and node.state == "serving" for node in self.nodes)


class Refusal(Frozen):
    """A MultinodeError on its way between processes."""

    code: ExitCode
    what: str
    where: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: MultinodeError) -> "Refusal":
        """As it is sent."""
        return cls(code=error.code, what=error.what, where=error.where, hint=error.hint)

    def error(self) -> MultinodeError:
        """As it is raised."""
        return MultinodeError(self.code, self.what, where=self.where, hint=self.hint)


class Reply(Frozen):
    """The answer to a request: what was done, the status where it was asked for, or a refusal."""

    done: str = ""
    status: RunStatus | None = None
    refusal: Refusal | None = None


class Forward(Frozen):
    """A listening socket of this machine that leads to a port of the node that is called `node`."""

    descriptor: int
    node: str
    port: int


class WorldConfig(Frozen):
    """What the runner tells the process that makes the world, once, on its standard input."""

    run: str
    directory: str
    logs: str
    runner: int
    """The runner's process id: the world ends with it."""
    control: int
    report: int
    lock: int
    forwards: tuple[Forward, ...] = ()
    keep: tuple[str, ...] = ()
    """Paths that every node sees even where they lie below a directory that it has of its own."""
    pods: tuple[PodSpec, ...] = ()
    families: Families = "ipv4"
    """Of the pods' addresses."""

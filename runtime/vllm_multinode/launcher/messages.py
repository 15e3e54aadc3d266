"""What head and worker say to each other, one JSON object a WebSocket message."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.model import Frozen
from vllm_multinode.launcher.plan import AcceleratorKind, GroupPlan
from vllm_multinode.launcher.settings import GroupName, Sizes

PROTOCOL = 1


class Versions(Frozen):
    """What must be the same on every node before an engine starts."""

    vllm: str
    ray: str | None
    python: str
    multinode: str


class Identity(Frozen):
    """Who a member is."""

    pod: str
    address: str
    accelerator: AcceleratorKind
    gpus: int | None = Field(description="None where neither KServe nor a device tells: as many as needed")
    versions: Versions
    model_dir: str
    fingerprint: str


class Hello(Frozen):
    """The worker's first message."""

    type: Literal["hello"] = "hello"
    protocol: int = PROTOCOL
    identity: Identity
    group: GroupName


class Beat(Frozen):
    """Either side is alive; the head's carries what its group does."""

    type: Literal["beat"] = "beat"
    epoch: int
    state: str
    reason: str = ""


class EngineExited(Frozen):
    """A process of the worker's engine ended, or hangs."""

    type: Literal["exited"] = "exited"
    epoch: int
    reason: str


class EngineStopped(Frozen):
    """Nothing of the engine of that epoch runs on the worker any more."""

    type: Literal["stopped"] = "stopped"
    epoch: int


class Leaving(Frozen):
    """The worker was asked to stop, and waits for the head to drain."""

    type: Literal["leaving"] = "leaving"
    reason: str


class Welcome(Frozen):
    """The worker is a member; its rank stays its own until it is gone."""

    type: Literal["welcome"] = "welcome"
    head: str
    epoch: int
    rank: int
    sizes: Sizes
    heartbeat_timeout: float


class Refused(Frozen):
    """The worker may not join; `final` says whether trying again is of any use."""

    type: Literal["refused"] = "refused"
    code: ExitCode
    what: str
    hint: str = ""
    final: bool = True


class Start(Frozen):
    """Start the engine of this epoch."""

    type: Literal["start"] = "start"
    epoch: int
    plan: GroupPlan


class Stop(Frozen):
    """Stop the engine of this and every older epoch."""

    type: Literal["stop"] = "stop"
    epoch: int
    reason: str


FromWorker = Annotated[Hello | Beat | EngineExited | EngineStopped | Leaving, Field(discriminator="type")]
FromHead = Annotated[Welcome | Refused | Beat | Start | Stop, Field(discriminator="type")]

from_worker: TypeAdapter[FromWorker] = TypeAdapter(FromWorker)
from_head: TypeAdapter[FromHead] = TypeAdapter(FromHead)

"""What head and worker say to each other, one JSON object a WebSocket message."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.plan import AcceleratorKind, GroupPlan
from vllm_multinode.launcher.settings import GroupName, Sizes
from vllm_multinode.launcher.text import Line, Name

PROTOCOL: Final = 3
LONGEST_FROM_WORKER: Final = 16 * 1024
LONGEST_FROM_HEAD: Final = 256 * 1024
"""Bytes of a message; only the head's carry vLLM's arguments."""

Epoch = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=2**53)]
"""A number that is one: neither infinite nor none."""


def _bounded(name: GroupName) -> GroupName:
    return GroupName.model_validate({part: _short(value) for part, value in name})


_name: Final[TypeAdapter[str]] = TypeAdapter(Name)


def _short(value: str | None) -> str | None:
    return None if value is None else _name.validate_python(value)


Group = Annotated[GroupName, AfterValidator(_bounded)]


class Versions(Frozen):
    """What must be the same on every node before an engine starts."""

    vllm: Name
    ray: Name | None
    python: Name
    multinode: Name
    torch: Name | None = None
    driver: Name | None = Field(default=None, description="of NVIDIA's GPUs")


class Identity(Frozen):
    """Who a member is."""

    pod: Name
    instance: Name = Field(
        default="", description="of this process, known to nobody else: a pod's name alone proves nothing"
    )
    address: Name
    accelerator: AcceleratorKind
    gpus: int | None = Field(
        ge=1, le=4096, description="None where neither KServe nor a device tells: as many as needed"
    )
    versions: Versions
    model_dir: Line
    fingerprint: Name


class Claim(Frozen):
    """Who says that he is a member of which group; part of what a proof covers."""

    protocol: int = PROTOCOL
    pod: Name
    group: Group


class Hello(Frozen):
    """The worker's first message."""

    type: Literal["hello"] = "hello"
    protocol: int = PROTOCOL
    identity: Identity
    group: Group
    sizes: Sizes | None = Field(default=None, description="of the group, where the worker was told them")


class Beat(Frozen):
    """Either side is alive; the head's carries what its group does."""

    type: Literal["beat"] = "beat"
    epoch: Epoch
    state: Name
    reason: Line = ""


class Loading(Frozen):
    """How many of the model's weight files a node's engine has done with."""

    done: int = Field(ge=0, le=2**20)
    total: int = Field(ge=0, le=2**20)


class ProcessUsage(Frozen):
    """What a process of the engine has used since its start, in seconds."""

    name: Name
    user_s: Seconds
    system_s: Seconds
    queued_s: Seconds = Field(description="its first thread was ready to run, and did not")


class Probe(Frozen):
    """The head asks how the engine does; `sent` comes back and tells the time of a round trip."""

    type: Literal["probe"] = "probe"
    sent: Seconds = Field(description="by the head's clock")


class Report(Frozen):
    """The worker's answer to a probe, from memory."""

    type: Literal["report"] = "report"
    sent: Seconds
    loading: Loading | None = None
    processes: tuple[ProcessUsage, ...] = Field(default=(), max_length=64)


class WireOpen(Frozen):
    """Listen for the node before this one, which will show that key."""

    type: Literal["wire-open"] = "wire-open"
    key: Name


class WireReady(Frozen):
    """The worker listens there."""

    type: Literal["wire-ready"] = "wire-ready"
    key: Name
    port: int = Field(ge=0, le=65535, description="0 where it cannot listen")


class WireMeasure(Frozen):
    """Measure the way to that node."""

    type: Literal["wire-measure"] = "wire-measure"
    key: Name
    address: Name
    port: int = Field(ge=1, le=65535)


class WireResult(Frozen):
    """What came of it; `reason` where nothing did."""

    type: Literal["wire-result"] = "wire-result"
    key: str = Field(default="", max_length=64)
    round_trip_ms: float | None = Field(default=None, ge=0, le=2**53)
    gbit_s: float | None = Field(default=None, ge=0, le=2**53)
    reason: Line = ""


class EngineExited(Frozen):
    """A process of the worker's engine ended, or hangs."""

    type: Literal["exited"] = "exited"
    epoch: Epoch
    reason: Line


class GivesUp(Frozen):
    """The worker ends because of what it has found wrong since it joined."""

    type: Literal["gives-up"] = "gives-up"
    epoch: Epoch
    reason: Line


class EngineStopped(Frozen):
    """Nothing of the engine of that epoch runs on the worker any more."""

    type: Literal["stopped"] = "stopped"
    epoch: Epoch


class Leaving(Frozen):
    """The worker was asked to stop, and waits for the head to drain."""

    type: Literal["leaving"] = "leaving"
    reason: Line


class Welcome(Frozen):
    """The worker is a member; its rank stays its own until it is gone."""

    type: Literal["welcome"] = "welcome"
    head: Name
    epoch: Epoch
    rank: int = Field(ge=1)
    sizes: Sizes
    heartbeat_timeout: float = Field(ge=0.1, le=3600, description="seconds")


class Refused(Frozen):
    """The worker may not join; `final` says whether trying again is of any use."""

    type: Literal["refused"] = "refused"
    code: ExitCode
    what: Line
    hint: Line = ""
    final: bool = True


class Start(Frozen):
    """Start the engine of this epoch."""

    type: Literal["start"] = "start"
    epoch: Epoch
    plan: GroupPlan


class Stop(Frozen):
    """Stop the engine of this and every older epoch."""

    type: Literal["stop"] = "stop"
    epoch: Epoch
    reason: Line
    stacks: bool = Field(default=False, description="write first what its processes do: it hangs")


FromWorker = Annotated[
    Hello | Beat | Report | EngineExited | EngineStopped | GivesUp | Leaving | WireReady | WireResult,
    Field(discriminator="type"),
]
FromHead = Annotated[
    Welcome | Refused | Beat | Probe | Start | Stop | WireOpen | WireMeasure, Field(discriminator="type")
]

from_worker: TypeAdapter[FromWorker] = TypeAdapter(FromWorker)
from_head: TypeAdapter[FromHead] = TypeAdapter(FromHead)

"""What head and worker say to each other, one JSON object a WebSocket message."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.plan import AcceleratorKind, GroupPlan
from vllm_multinode.launcher.settings import GroupName, Sizes
from vllm_multinode.launcher.text import Line, Name

PROTOCOL: Final = 2
LONGEST_FROM_WORKER: Final = 16 * 1024
LONGEST_FROM_HEAD: Final = 256 * 1024
"""Bytes of a message; only the head's carry vLLM's arguments."""

Epoch = Annotated[int, Field(ge=0, le=2**53)]


def _bounded(name: GroupName) -> GroupName:
    return GroupName.model_validate({part: _short(value) for part, value in name})


def _short(value: str | None) -> str | None:
    return None if value is None else TypeAdapter(Name).validate_python(value)


Group = Annotated[GroupName, AfterValidator(_bounded)]


class Versions(Frozen):
    """What must be the same on every node before an engine starts."""

    vllm: Name
    ray: Name | None
    python: Name
    multinode: Name


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
    Hello | Beat | EngineExited | EngineStopped | GivesUp | Leaving, Field(discriminator="type")
]
FromHead = Annotated[Welcome | Refused | Beat | Start | Stop, Field(discriminator="type")]

from_worker: TypeAdapter[FromWorker] = TypeAdapter(FromWorker)
from_head: TypeAdapter[FromHead] = TypeAdapter(FromHead)

"""Who belongs to the group: ranks, epochs, heartbeats. Pure; the clock is passed in."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.messages import Identity, Report, Versions
from vllm_multinode.launcher.settings import GroupName, Sizes
from vllm_multinode.launcher.sizes import check_members, check_same_sizes

HEAD_RANK: Final = 0
_ROUND_TRIPS: Final = 10
_MOST_NAMED: Final = 16
"""Ranks that nobody holds, in one message."""


class FullError(Exception):
    """Its place is taken; it may come free once a lost member has been noticed."""


class ShortError(MultinodeError):
    """The group would be whole and hold too few accelerators.

    Args:
        error: what to say of it.
        fewest: the member with the fewest, which is to go.
    """

    def __init__(self, error: MultinodeError, fewest: str) -> None:
        super().__init__(error.code, error.what, where=error.where, hint=error.hint)
        self.fewest = fewest


@dataclass
class Member:
    """A worker that was welcomed and is not gone.

    Attributes:
        name: of the group, as the worker was told it.
        seen: when it was last heard of; `joined` when it was welcomed.
        stopped_epoch: nothing of this or an older epoch's engine runs there.
        exited_epoch: the last epoch whose engine ended there by itself.
        leaving: it was asked to stop; its place is free.
        gave_up: it has said why it will be of no use.
        report: what it last said of its engine.
        round_trips: seconds, of the latest probes.
    """

    identity: Identity
    rank: int
    seen: float
    joined: float
    name: GroupName
    state: str = "joined"
    stopped_epoch: int = -1
    exited_epoch: int = -1
    leaving: bool = False
    gave_up: bool = False
    report: Report | None = None
    round_trips: deque[float] = field(default_factory=lambda: deque(maxlen=_ROUND_TRIPS))


@dataclass
class Group:
    """The members of one generation, as the head knows them.

    Args:
        head: the head's own identity.
        nodes: places, the head's included.
        executor: decides how exactly versions must agree.
        told: the group's name as the head was told it; what it was not told, its members say.
        former: who held each rank last.
    """

    head: Identity
    sizes: Sizes
    executor: ExecutorName
    told: GroupName
    epoch: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    former: dict[int, str] = field(default_factory=dict)
    _name: GroupName | None = field(default=None, init=False)

    @property
    def nodes(self) -> int:
        """Places, the head's included."""
        return self.sizes.nodes

    @property
    def name(self) -> GroupName:
        """What the head was told, completed by what its present members were told."""
        if self._name is None:
            self._name = self.told
            for member in self.members.values():
                self._name = self._name.learn(member.name)
        return self._name

    @property
    def staying(self) -> list[Member]:
        """Members that hold a place, by rank."""
        return sorted((one for one in self.members.values() if not one.leaving), key=lambda one: one.rank)

    @property
    def addresses(self) -> list[str]:
        """Of every node, the head's first, then by rank."""
        return [self.head.address, *(one.identity.address for one in self.staying)]

    @property
    def present(self) -> int:
        """Nodes that hold a place, the head among them."""
        return len(self._held()) + 1

    @property
    def complete(self) -> bool:
        """Every place is taken, and nobody is about to go."""
        return self.present == self.nodes

    def _held(self, but: Member | None = None) -> set[int]:
        return {one.rank for one in self.members.values() if not one.leaving and one is not but}

    def _free(self, held: set[int]) -> Iterator[int]:
        return (rank for rank in range(1, self.nodes) if rank not in held)

    @property
    def missing(self) -> str:
        """The ranks that nobody holds, and who held them last, in words; nothing where it is complete."""
        held = self._held()
        ranks = list(islice(self._free(held), _MOST_NAMED))
        last = (f" (last {self.former[rank]})" if rank in self.former else "" for rank in ranks)
        named = ", ".join(f"rank {rank}{who}" for rank, who in zip(ranks, last, strict=True))
        more = self.nodes - 1 - len(held) - len(ranks)
        return named + (f" and {more} more" if more else "")

    @property
    def gpus(self) -> dict[str, int]:
        """Accelerators by member, the head first, then by rank."""
        return {
            self.head.pod: self._gpus_of_head,
            **{one.identity.pod: one.identity.gpus or self._gpus_of_head for one in self.staying},
        }

    @property
    def _gpus_of_head(self) -> int:
        return self.head.gpus or 1

    def next_epoch(self) -> int:
        """A new epoch; messages of older ones are rejected from now on."""
        self.epoch += 1
        return self.epoch

    def admit(self, identity: Identity, name: GroupName, now: float, sizes: Sizes | None = None) -> Member:
        """Welcome a worker and give it the lowest free rank, once everything about it has been checked.

        A living member keeps its place whatever a newcomer calls itself. Only the same process, which joins
        again over another connection, takes its own place over.

        Args:
            identity: the worker's.
            name: of the group, as the worker was told it.
            now: seconds.
            sizes: of the group, where the worker was told them.

        Raises:
            ShortError: the group would be whole with it and hold too few accelerators.
            MultinodeError: it must not join this group; says why by name.
            FullError: no place is free at present.
        """
        self.check_name(identity.pod, identity.address, name)
        check_same(self.head, identity, self.executor)
        check_same_sizes(identity.pod, self.sizes, sizes)
        former = self.members.get(identity.pod)
        if former is not None and not (identity.instance and identity.instance == former.identity.instance):
            raise FullError(
                f"{identity.pod} is a member already, from {former.identity.address}, and is alive; "
                f"this one is at {identity.address}"
            )
        held = self._held(but=former)
        rank = next(self._free(held), None)
        if rank is None:
            raise FullError(f"all {self.nodes} places are taken")
        self._check_gpus(identity, whole=len(held) == self.nodes - 2)
        # It runs nothing yet, so nothing of this or an older epoch is left to stop.
        member = Member(identity, rank, seen=now, joined=now, name=name, stopped_epoch=self.epoch)
        self._name = self.name.learn(name) if former is None else None
        self.members[identity.pod] = member
        self.former[member.rank] = identity.pod
        return member

    def _check_gpus(self, identity: Identity, *, whole: bool) -> None:
        own = {identity.pod: identity.gpus or self._gpus_of_head}
        # The others were held against the head when they came.
        check_members(self.executor, self.sizes, {self.head.pod: self._gpus_of_head} | own, whole=False)
        if not whole:
            return
        gpus = self.gpus | own
        try:
            check_members(self.executor, self.sizes, gpus)
        except MultinodeError as error:
            newcomer_first = [identity.pod, *(one.identity.pod for one in self.staying)]
            raise ShortError(error, min(newcomer_first, key=lambda pod: gpus[pod])) from error

    def check_name(self, pod: str, address: str, name: GroupName) -> None:
        """Refuse a worker of another service or generation, or one that bears the head's own name.

        Raises:
            MultinodeError: GROUP, with both names.
        """
        if pod == self.head.pod:
            raise MultinodeError(
                ExitCode.GROUP,
                f"a worker at {address} calls itself {pod}, as its head does.",
                where=env.POD_NAME,
                hint="Set it by the downward API, so that each pod has a name of its own.",
            )
        difference = self.name.difference(name)
        if difference is not None:
            raise MultinodeError(
                ExitCode.GROUP,
                f"worker {pod} belongs to {difference}, as head {self.head.pod} does.",
                hint="Each generation of a service forms a group of its own, with its own head.",
            )

    def heard(self, pod: str, now: float) -> None:
        """A message of that member arrived."""
        member = self.members.get(pod)
        if member is not None:
            member.seen = now

    def remove(self, pod: str) -> Member | None:
        """Forget a member, so that its rank is free."""
        self._name = None
        return self.members.pop(pod, None)


def check_same(head: Identity, worker: Identity, executor: ExecutorName) -> None:
    """Refuse a worker whose versions, accelerators or model differ from the head's.

    Raises:
        MultinodeError: the first difference, with both values and both pods.
    """
    pods = f"head {head.pod} has {{}}, worker {worker.pod} has {{}}."
    for name, ours, theirs in _version_pairs(head.versions, worker.versions, executor):
        if ours != theirs:
            raise MultinodeError(
                ExitCode.VERSIONS_DIFFER,
                f"{name}: {pods.format(ours or 'none', theirs or 'none')}",
                hint="Run the same image on both; an InferenceService's model.image changes the head only.",
            )
    if head.accelerator != worker.accelerator:
        raise MultinodeError(
            ExitCode.ACCELERATORS_DIFFER,
            f"accelerators: {pods.format(head.accelerator, worker.accelerator)}",
            hint="Give head and workers the same type.",
        )
    if head.fingerprint != worker.fingerprint:
        raise MultinodeError(
            ExitCode.MODELS_DIFFER,
            f"model directories differ: head {head.pod} has {head.model_dir} ({head.fingerprint[:12]}), "
            f"worker {worker.pod} has {worker.model_dir} ({worker.fingerprint[:12]}).",
            hint="Mount the same claim and path on both.",
        )
    if EXECUTORS[executor].shares_model_path and head.model_dir != worker.model_dir:
        raise MultinodeError(
            ExitCode.MODELS_DIFFER,
            f"model path: {pods.format(head.model_dir, worker.model_dir)}",
            hint="Under Ray every node opens the head's path; mount the model at the same place.",
        )


def _version_pairs(
    head: Versions, worker: Versions, executor: ExecutorName
) -> list[tuple[str, str | None, str | None]]:
    pairs: list[tuple[str, str | None, str | None]] = [
        ("vLLM", head.vllm, worker.vllm),
        ("vllm-multinode", head.multinode, worker.multinode),
    ]
    if EXECUTORS[executor].needs_ray:
        # Ray compares both itself, to the patch level, once it has started.
        pairs += [("Ray", head.ray, worker.ray), ("Python", head.python, worker.python)]
    return pairs

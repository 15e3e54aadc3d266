"""Who belongs to the group: ranks, epochs, heartbeats. Pure; the clock is passed in."""

from dataclasses import dataclass, field
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.messages import Identity, Versions
from vllm_multinode.launcher.settings import GroupName

HEAD_RANK: Final = 0


class FullError(Exception):
    """Every place is taken; one may come free once a lost member has been noticed."""


@dataclass
class Member:
    """A worker that was welcomed and is not gone."""

    identity: Identity
    rank: int
    seen: float
    joined: float
    state: str = "joined"
    stopped_epoch: int = -1
    leaving: bool = False


@dataclass
class Group:
    """The members of one generation, as the head knows them.

    Args:
        head: the head's own identity.
        nodes: places, the head's included.
        executor: decides how exactly versions must agree.
        name: of the group; what the head was not told, the first worker says.
    """

    head: Identity
    nodes: int
    executor: ExecutorName
    name: GroupName
    epoch: int = 0
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Every place is taken, and nobody is about to go."""
        staying = [member for member in self.members.values() if not member.leaving]
        return len(staying) == self.nodes - 1

    @property
    def gpus(self) -> dict[str, int]:
        """Accelerators by member, the head first, then by rank."""
        workers = sorted(self.members.values(), key=lambda member: member.rank)
        return {
            self.head.pod: self._gpus_of_head,
            **{one.identity.pod: one.identity.gpus or self._gpus_of_head for one in workers},
        }

    @property
    def _gpus_of_head(self) -> int:
        return self.head.gpus or 1

    def next_epoch(self) -> int:
        """A new epoch; messages of older ones are refused from now on."""
        self.epoch += 1
        return self.epoch

    def admit(self, identity: Identity, name: GroupName, now: float) -> Member:
        """Welcome a worker and give it the lowest free rank.

        Raises:
            MultinodeError: it must not join this group; says why by name.
            FullError: no place is free at present.
        """
        self._check_name(identity, name)
        check_same(self.head, identity, self.executor)
        if identity.pod in self.members:
            raise FullError(f"{identity.pod} is a member already")
        free = set(range(1, self.nodes)) - {member.rank for member in self.members.values()}
        if not free:
            raise FullError(f"all {self.nodes} places are taken")
        # It runs nothing yet, so nothing of this or an older epoch is left to stop.
        member = Member(identity, min(free), seen=now, joined=now, stopped_epoch=self.epoch)
        self.members[identity.pod] = member
        # Only from a member: one that is refused may belong anywhere.
        self.name = self.name.learn(name)
        return member

    def _check_name(self, identity: Identity, name: GroupName) -> None:
        difference = self.name.difference(name)
        if difference is not None:
            raise MultinodeError(
                ExitCode.GROUP,
                f"worker {identity.pod} belongs to {difference}, as head {self.head.pod} does.",
                hint="Each generation of a service forms a group of its own, with its own head.",
            )

    def heard(self, pod: str, now: float) -> None:
        """A message of that member arrived."""
        member = self.members.get(pod)
        if member is not None:
            member.seen = now

    def silent(self, now: float, timeout: float) -> list[Member]:
        """Members not heard of for longer than `timeout` seconds."""
        return [member for member in self.members.values() if now - member.seen > timeout]

    def remove(self, pod: str) -> Member | None:
        """Forget a member, so that its rank is free."""
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

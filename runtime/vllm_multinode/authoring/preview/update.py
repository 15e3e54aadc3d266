"""What applying changed manifests does to what runs: pods that are replaced, GPUs that it takes meanwhile."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from vllm_multinode.authoring.preview import Preview, preview_documents
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.k8s.documents import Document
from vllm_multinode.k8s.merge import MERGE_KEYS
from vllm_multinode.platforms.kserve import schema
from vllm_multinode.platforms.kserve.defaulting import defaulted
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body, Group

_PERCENT: Final = "%"


class Difference(NamedTuple):
    """One field of one object, before and after; None where it is not there."""

    kind: str
    name: str
    path: str
    before: object
    after: object


class Rollout(NamedTuple):
    """How one Deployment gets from its old pods to the new ones.

    Attributes:
        role: "head" or "worker".
        deployment: its name.
        strategy: "RollingUpdate" or "Recreate".
        running: old pods.
        wanted: new pods.
        surge: new pods beside the old ones.
        gpus: accelerators that the surge takes on top of the old pods'.
    """

    role: str
    deployment: str
    strategy: str
    running: int
    wanted: int
    surge: int
    gpus: int


class Update(NamedTuple):
    """What an update does to one InferenceService or LeaderWorkerSet.

    Attributes:
        kind: of the object.
        name: of the object.
        what: "made", "deleted", "changed" or "unchanged".
        generations: before and after.
        gpus: accelerators before and after.
        rollouts: of the Deployments whose pods are replaced.
        differences: field by field.
    """

    kind: str
    name: str
    what: str
    generations: tuple[int, int]
    gpus: tuple[int, int]
    rollouts: tuple[Rollout, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def more_gpus(self) -> int:
        """Accelerators on top of those in use, while the update runs."""
        return sum(one.gpus for one in self.rollouts)


def updates(
    before: Sequence[Document], after: Sequence[Document], release: Release, generation: int = 1
) -> tuple[Preview, list[Update]]:
    """The preview after an update, and what the update does to each group.

    Args:
        before: what is applied now.
        after: what will be applied.
        release: of KServe or OpenShift AI.
        generation: metadata.generation of the InferenceServices now.
    """
    old = {_key(one): one for one in preview_documents(before, release, generation).groups}
    same, next_one = (preview_documents(after, release, number) for number in (generation, generation + 1))
    moved = _moved(before, after, release)
    groups = [
        risen if moved.get((risen.namespace, risen.name), False) and _key(risen) in old else kept
        for kept, risen in zip(same.groups, next_one.groups, strict=True)
    ]
    new = {_key(one): one for one in groups}
    found = [_update(old.get(key), new.get(key)) for key in {**old, **new}]
    return replace(same, groups=tuple(groups)), found


def surge(replicas: int, how: Mapping[str, Any]) -> int:
    """Pods that a Deployment may have beyond `replicas` while it rolls; a part of a pod counts as one."""
    rolling = how.get("rollingUpdate") or {}
    return 0 if how.get("type") == "Recreate" else _share(rolling.get("maxSurge", "25%"), replicas)


def _share(value: object, replicas: int) -> int:
    text = str(value)
    number = text.removesuffix(_PERCENT)
    if not is_count(number):
        return 0
    return math.ceil(int(number) * replicas / 100) if text.endswith(_PERCENT) else int(number)


def _moved(
    before: Sequence[Document], after: Sequence[Document], release: Release
) -> dict[tuple[str, str], bool]:
    """Whether each InferenceService's spec differs, which is what raises its generation."""

    def specs(documents: Sequence[Document]) -> dict[tuple[str, str], Body]:
        services = [one for one in documents if one.kind == "InferenceService" and schema.is_shaped(one.body)]
        return {(one.namespace, one.name): defaulted(one.body, release)["spec"] for one in services}

    old = specs(before)
    return {key: key in old and old[key] != spec for key, spec in specs(after).items()}


def _key(group: Group) -> tuple[str, str, str]:
    return group.kind, group.namespace, group.name


def _update(old: Group | None, new: Group | None) -> Update:
    either = new or old
    if either is None:
        raise ValueError("an update needs a group before or after it")
    generations = (old.generation if old else 0, new.generation if new else 0)
    counts = (gpus_of(old), gpus_of(new))
    if old is None or new is None:
        what = "made" if old is None else "deleted"
        return Update(either.kind, either.name, what, generations, counts)
    differences = tuple(_between(old, new))
    return Update(
        either.kind,
        either.name,
        "changed" if differences else "unchanged",
        generations,
        counts,
        tuple(_rollouts(old, new)),
        differences,
    )


def gpus_of(group: Group | None) -> int:
    """Accelerators of all pods of a group."""
    return sum(role.replicas * role.gpus for role in group.roles) * group.replicas if group else 0


def _rollouts(old: Group, new: Group) -> Iterator[Rollout]:
    before = {one["metadata"]["name"]: one for one in old.objects if one["kind"] == "Deployment"}
    for role in new.roles:
        made = next(
            (
                one
                for one in new.objects
                if one["kind"] == "Deployment" and one["metadata"]["name"] == role.deployment
            ),
            None,
        )
        there = before.get(role.deployment)
        if made is None or there is None or made["spec"]["template"] == there["spec"]["template"]:
            continue
        how = made["spec"]["strategy"]
        more = surge(role.replicas, how)
        running = next((one.replicas for one in old.roles if one.deployment == role.deployment), 0)
        yield Rollout(role.role, role.deployment, how["type"], running, role.replicas, more, more * role.gpus)


def _between(old: Group, new: Group) -> Iterator[Difference]:
    """Differences between what was made and what will be; pods follow their Deployments and are left out."""
    before, after = (
        {(one["kind"], one["metadata"]["name"]): one for one in group.objects if one["kind"] != "Pod"}
        for group in (old, new)
    )
    for key in {**before, **after}:
        yield from _different(before.get(key), after.get(key), key, "")


def _different(old: Any, new: Any, key: tuple[str, str], path: str) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for field in {**old, **new}:
            yield from _different(
                old.get(field), new.get(field), key, f"{path}.{field}" if path else str(field)
            )
    elif isinstance(old, list) and isinstance(new, list):
        yield from _different_lists(old, new, key, path)
    elif old != new:
        yield Difference(*key, path, old, new)


def _different_lists(old: list[Any], new: list[Any], key: tuple[str, str], path: str) -> Iterator[Difference]:
    merge_key = MERGE_KEYS.get(path.rpartition(".")[2])
    items = [*old, *new]
    if merge_key is None or not all(isinstance(one, Mapping) and merge_key in one for one in items):
        if old != new:
            yield Difference(*key, path, old, new)
        return
    before, after = ({one[merge_key]: one for one in side} for side in (old, new))
    for name in {**before, **after}:
        yield from _different(before.get(name), after.get(name), key, f"{path}[{name}]")

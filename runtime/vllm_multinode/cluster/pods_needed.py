"""The pods that a deployment leads to, held against what their namespace allows: before anything is written.

The API server admits a Deployment whose pods it will refuse, and nobody hears of it but an event.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from vllm_multinode.authoring.preview import preview_documents
from vllm_multinode.cluster import ownership
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import Document
from vllm_multinode.k8s.quantity import parse
from vllm_multinode.platforms.releases import DEFAULT, Release

Body = Mapping[str, Any]

_QUOTA: Final = ("v1", "ResourceQuota")
_POD: Final = ("v1", "Pod")
_CLAIM: Final = ownership.CLAIM[1]
_TEMPLATED: Final = ("Job", "Deployment", "StatefulSet")
_PLAIN: Final = ("cpu", "memory", "ephemeral-storage")
"""Resources that a quota may name without "requests." before them."""
_LISTED: Final = 3


@dataclass(frozen=True)
class PodsNeeded:
    """Pods that are alike.

    Attributes:
        owner: what they are of, in a reader's words.
        name: for one of them.
        count: how many.
        spec: of each.
        passing: they are gone before the others come.
    """

    owner: str
    name: str
    count: int
    spec: Body
    passing: bool = False


def check(cluster: Cluster, documents: Sequence[Document], release: Release | None) -> None:
    """Ask the API server for one pod of each kind, and hold all of them against the quotas.

    Args:
        cluster: where.
        documents: what is deployed, with the ServingRuntimes that it names.
        release: what runs there; None for a LeaderWorkerSet without KServe.

    Raises:
        MultinodeError: WILL_NOT_SERVE: no such pod is admitted; MISSING: a quota does not hold them all.
    """
    needed = list(pods_of(documents, release or DEFAULT))
    for pods in needed:
        _admitted(cluster, pods)
    names = [one.name for one in documents if one.kind in ownership.SERVICES]
    if not any(_exists(cluster, one) for one in documents if one.kind in ownership.SERVICES and names):
        claims = [one.body for one in documents if one.kind == _CLAIM and not _exists(cluster, one)]
        _hold_against_quotas(cluster, needed, claims)


def pods_of(documents: Sequence[Document], release: Release) -> Iterator[PodsNeeded]:
    """The pods of services, as the release makes them, and of Jobs."""
    for document in documents:
        if document.kind in _TEMPLATED:
            spec = document.body.get("spec") or {}
            pod = (spec.get("template") or {}).get("spec") or {}
            is_job = document.kind == "Job"
            count = 1 if is_job else int(spec.get("replicas", 1))
            yield PodsNeeded(f"{document.kind} {document.name}", document.name, count, pod, passing=is_job)
    for group in preview_documents(documents, release).groups:
        for role in group.roles:
            owner = f"{group.kind} {group.name}, {role.role}"
            yield PodsNeeded(owner, f"{group.name}-{role.role}", role.replicas * group.replicas, role.pod)


def _admitted(cluster: Cluster, pods: PodsNeeded) -> None:
    name = f"{pods.name}-check"[:63].strip("-.")
    spec = {key: value for key, value in pods.spec.items() if key != "nodeName"}
    body = {
        "apiVersion": "v1",
        "kind": _POD[1],
        # Without labels: KServe's webhook looks for one, and the pods here are as it leaves them.
        "metadata": {"name": name},
        "spec": spec,
    }
    try:
        cluster.apply(body, dry_run=True)
    except MultinodeError as error:
        if not _of_admission(error):
            # Who may not make pods may still have them made, a namespace is made first, and what a pod's
            # fields may say is told of the objects that the pods come from.
            return
        where = f"pod of {pods.owner}"
        raise MultinodeError(
            ExitCode.MISSING if _of_quota(error) else error.code,
            f"{error.what.rstrip('.')}. Nothing was written.",
            where=where,
            hint=error.hint or "Request only what the namespace allows, or have its limits changed.",
        ) from error


def _of_admission(error: MultinodeError) -> bool:
    if error.code == ExitCode.WILL_NOT_SERVE:
        return not error.what.startswith(("the API rejects it", "the cluster's Pod has no field"))
    return _of_quota(error)


def _of_quota(error: MultinodeError) -> bool:
    return "exceeded quota" in error.what


def _exists(cluster: Cluster, document: Document) -> bool:
    resource = cluster.resource(document.api_version, document.kind)
    return cluster.get(resource, document.name) is not None


def _hold_against_quotas(cluster: Cluster, needed: Sequence[PodsNeeded], claims: Sequence[Body]) -> None:
    try:
        quotas, _ = cluster.list(cluster.resource(*_QUOTA))
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        return
    lasting = _total([one for one in needed if not one.passing])
    passing = [_total([one]) for one in needed if one.passing]
    asked: dict[str, Decimal] = {}
    for total in (lasting, *passing):
        asked = {key: max(asked.get(key, Decimal()), total.get(key, Decimal())) for key in asked | total}
    asked |= _storage(claims)
    for quota in quotas:
        spec = quota.get("spec") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            # For some pods only; the dry run has asked for one.
            continue
        status = quota.get("status") or {}
        hard, used = status.get("hard") or spec.get("hard") or {}, status.get("used") or {}
        left = {key: _number(hard[key]) - _number(used.get(key, "0")) for key in hard if asked.get(key)}
        short = [
            f"{key}: {_shown(asked[key])} needed, {_shown(max(rest, Decimal()))} left"
            for key, rest in sorted(left.items())
            if rest < asked[key]
        ]
        if short:
            raise MultinodeError(
                ExitCode.MISSING,
                f"the quota is too small. {'; '.join(short[:_LISTED])}. Nothing was written.",
                where=f"ResourceQuota {cluster.namespace}/{quota['metadata']['name']}",
                hint="Request a larger quota, or free some of it.",
            )


def _total(needed: Sequence[PodsNeeded]) -> dict[str, Decimal]:
    """What pods take of a quota, by the quota's keys."""
    total: Counter[str] = Counter()
    sums: dict[str, Decimal] = {}
    for pods in needed:
        total["pods"] += pods.count
        total["count/pods"] += pods.count
        for part in ("requests", "limits"):
            for resource, amount in _effective(pods.spec, part).items():
                for key in _keys(part, resource):
                    sums[key] = sums.get(key, Decimal()) + amount * pods.count
    return sums | {key: Decimal(count) for key, count in total.items()}


def _keys(part: str, resource: str) -> Iterator[str]:
    if part == "requests" and resource in _PLAIN:
        yield resource
    yield f"{part}.{resource}"


def _effective(spec: Body, part: str) -> dict[str, Decimal]:
    """Containers together, or the one init container that asks for more; a limit stands for a request."""
    together: dict[str, Decimal] = {}
    for container in spec.get("containers") or []:
        for resource, amount in _amounts(container, part).items():
            together[resource] = together.get(resource, Decimal()) + amount
    for container in spec.get("initContainers") or []:
        for resource, amount in _amounts(container, part).items():
            together[resource] = max(together.get(resource, Decimal()), amount)
    return together


def _amounts(container: Body, part: str) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    given = dict(resources.get(part) or {})
    if part == "requests":
        given = {**(resources.get("limits") or {}), **given}
    return {str(resource): _number(amount) for resource, amount in given.items()}


def _storage(claims: Sequence[Body]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for claim in claims:
        spec = claim.get("spec") or {}
        amount = _number(((spec.get("resources") or {}).get("requests") or {}).get("storage"))
        of_class = spec.get("storageClassName")
        prefixes = ("", *((f"{of_class}.storageclass.storage.k8s.io/",) if of_class else ()))
        for prefix in prefixes:
            for key, value in (("requests.storage", amount), ("persistentvolumeclaims", Decimal(1))):
                found[prefix + key] = found.get(prefix + key, Decimal()) + value
    return found


def _number(quantity: object) -> Decimal:
    """What a quantity stands for; zero for what is not a quantity, which the API server rejects."""
    try:
        return parse(quantity)
    except ValueError:
        return Decimal()


def _shown(amount: Decimal) -> str:
    """A number as people write it: bytes in GiB."""
    if amount >= 1 << 30:
        return f"{amount / (1 << 30):.0f}Gi"
    return f"{amount.normalize():f}"

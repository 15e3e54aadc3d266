"""Server-side apply of a deployment: all of it is asked first, then all of it is written, in order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from vllm_multinode.cluster import failures, ownership
from vllm_multinode.cluster.client import Cluster, Resource
from vllm_multinode.cluster.transport import Object
from vllm_multinode.cluster.updates import announcements
from vllm_multinode.contract import labels
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

Result = Literal["created", "changed", "unchanged", "kept"]

_SERVERS: Final = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
"""What the API server writes into metadata; left out where a user brings back what `kubectl get` printed."""
_BY_SERVER: Final = ("managedFields", "resourceVersion", "generation")


@dataclass
class Item:
    """One object of a deployment.

    Attributes:
        resource: its kind.
        name: its name.
        namespace: empty for what has none.
        body: as asked for, with our marks.
        found: as it is in the cluster before anything is done; None where it is not there.
        foreign: somebody else's, and already as asked for: nothing is done to it.
    """

    resource: Resource
    name: str
    namespace: str
    body: Object
    found: Object | None = None
    foreign: bool = False

    @property
    def shown(self) -> str:
        """Such as InferenceService demo/llama."""
        return f"{self.resource.kind} " + "/".join(part for part in (self.namespace, self.name) if part)


@dataclass(frozen=True)
class Deployment:
    """What is to be deployed, and how.

    Attributes:
        name: the deployment's, which `wait` and `delete` take.
        bodies: its objects, in any order.
        create_namespace: make it where it is not there.
        force_conflicts: take over fields and objects of others.
        dry_run: ask, and write nothing.
    """

    name: str
    bodies: Sequence[Mapping[str, Any]]
    create_namespace: bool = False
    force_conflicts: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one object, in a reader's words."""

    shown: str
    result: Result
    remark: str = ""


@dataclass
class Deployed:
    """What a deployment did.

    Attributes:
        outcomes: one for each object, in the order in which they were applied.
        leftovers: what an earlier deployment of this name made and this one no longer has.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    leftovers: list[Item] = field(default_factory=list)


def deploy(
    cluster: Cluster,
    wanted: Deployment,
    announce: Callable[[str], None] = lambda _: None,
    done: Callable[[Outcome], None] = lambda _: None,
) -> Deployed:
    """Apply a deployment; a second time it changes nothing.

    Args:
        cluster: where; its namespace is that of objects without one.
        wanted: what.
        announce: called before anything is written, with what an update will do.
        done: called after each object.

    Raises:
        MultinodeError: the first refusal; unless it came up between asking and writing, nothing was written.
    """
    identity = f"{cluster.namespace}/{wanted.name}"
    items = prepare(cluster, wanted.bodies)
    complete = _ensure_namespaces(cluster, items, wanted)
    for item in items:
        _own(cluster, item, identity, force=wanted.force_conflicts)
    asked = {}
    if complete:
        # With every refusal known beforehand, nothing is left half-applied.
        asked = {id(item): _apply(cluster, item, wanted, dry_run=True) for item in items if not item.foreign}
        pairs = [(item.found, asked[id(item)]) for item in items if item.found and not item.foreign]
        for line in announcements(cluster, pairs, identity):
            announce(line)
    deployed = Deployed(leftovers=leftovers(cluster, identity, items) if complete else [])
    for item in items:
        outcome = _outcome(cluster, item, wanted, asked.get(id(item)))
        deployed.outcomes.append(outcome)
        done(outcome)
    return deployed


def prepare(cluster: Cluster, bodies: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Each object with its kind and place, in the order in which they are applied.

    Raises:
        MultinodeError: MANIFEST for an object without a name, or one that appears twice; KIND_MISSING.
    """
    items: list[Item] = []
    for body in sorted(bodies, key=ownership.order):
        kind, metadata = str(body.get("kind")), dict(body.get("metadata") or {})
        name = str(metadata.get("name") or "")
        if not name:
            raise MultinodeError(ExitCode.MANIFEST, f"a {kind} has no name.", hint="Give it metadata.name.")
        resource = cluster.resource(str(body.get("apiVersion")), kind)
        kept = {key: value for key, value in metadata.items() if key not in _SERVERS}
        namespace = ""
        if resource.namespaced:
            namespace = str(metadata.get("namespace") or cluster.namespace)
            kept["namespace"] = namespace
        plain = {key: value for key, value in body.items() if key != "status"}
        items.append(Item(resource, name, namespace, {**plain, "metadata": kept}))
    places = [(item.resource, item.namespace, item.name) for item in items]
    for item, place in zip(items, places, strict=True):
        if places.count(place) > 1:
            raise MultinodeError(ExitCode.MANIFEST, "appears twice in the files.", where=item.shown)
    return items


def _ensure_namespaces(cluster: Cluster, items: Sequence[Item], wanted: Deployment) -> bool:
    """Whether every namespace is there; refuse, unless it is among the objects or was asked for."""
    resource = cluster.resource("v1", "Namespace")
    brought = {item.name for item in items if item.resource == resource}
    complete = True
    for name in sorted({item.namespace for item in items if item.namespace}):
        try:
            found = cluster.get(resource, name)
        except MultinodeError as error:
            if error.code != ExitCode.FORBIDDEN:
                raise
            # Not everybody may read namespaces; a missing one will be rejected with its objects.
            continue
        if found is not None:
            continue
        if name not in brought and not wanted.create_namespace:
            raise failures.missing_namespace(name)
        complete = False
        if name not in brought and not wanted.dry_run:
            cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            complete = True
    return complete


def _own(cluster: Cluster, item: Item, identity: str, *, force: bool) -> None:
    """Mark it as ours, unless it is somebody else's.

    Raises:
        MultinodeError: CONFLICT: somebody else made it, and it is not as asked for.
    """
    item.found = cluster.get(item.resource, item.name, item.namespace)
    if item.resource.kind == "Namespace":
        item.foreign = item.found is not None and _holds(item.found, item.body)
        return
    shared = ownership.deployments(item.found) if item.found else set()
    if item.found and not shared and not force:
        if not _holds(item.found, item.body):
            who = ownership.managers(item.found)
            raise MultinodeError(
                ExitCode.CONFLICT,
                f"already exists, was created by {who}, and differs from the wanted object.",
                where=item.shown,
                hint=(
                    "Use another name, or take ownership with --force-conflicts; `delete` will then "
                    "delete it."
                ),
            )
        item.foreign = True
        return
    item.body = ownership.marked(item.body, shared | {identity})


def _holds(found: object, asked: object) -> bool:
    """Is everything that is asked for there already, whatever else there is?"""
    if isinstance(asked, Mapping):
        return isinstance(found, Mapping) and all(_holds(found.get(key), asked[key]) for key in asked)
    if isinstance(asked, list):
        return (
            isinstance(found, list)
            and len(found) == len(asked)
            and all(_holds(one, other) for one, other in zip(found, asked, strict=True))
        )
    return found == asked


def _apply(cluster: Cluster, item: Item, wanted: Deployment, *, dry_run: bool) -> Object:
    try:
        return cluster.apply(item.body, force=wanted.force_conflicts, dry_run=dry_run)
    except failures.FieldConflictError as error:
        # What `delete` took off a shared object belongs to us as an update, which conflicts with an apply.
        if set(error.owners) != {labels.MANAGER}:
            raise
        return cluster.apply(item.body, force=True, dry_run=dry_run)


def _outcome(cluster: Cluster, item: Item, wanted: Deployment, asked: Object | None) -> Outcome:
    if item.foreign:
        return Outcome(item.shown, "unchanged", "owned by others; `delete` will keep it")
    if wanted.dry_run:
        if item.found is None:
            return Outcome(item.shown, "created", "dry run")
        same = asked is not None and _content(asked) == _content(item.found)
        return Outcome(item.shown, "unchanged" if same else "changed", "dry run")
    applied = _apply(cluster, item, wanted, dry_run=False)
    if item.found is None:
        return Outcome(item.shown, "created")
    return Outcome(item.shown, "unchanged" if _content(applied) == _content(item.found) else "changed")


def _content(body: Object) -> Object:
    """What is asked for: controllers write the status, and with it the resourceVersion, at any time."""
    metadata = {key: value for key, value in body["metadata"].items() if key not in _BY_SERVER}
    return {**{key: value for key, value in body.items() if key != "status"}, "metadata": metadata}


def leftovers(cluster: Cluster, identity: str, items: Sequence[Item]) -> list[Item]:
    """What is marked as part of the deployment and not among `items`."""
    present = {(item.resource.kind, item.namespace, item.name) for item in items}
    return [
        item
        for item in objects_of(cluster, identity)
        if (item.resource.kind, item.namespace, item.name) not in present
    ]


def objects_of(
    cluster: Cluster, identity: str, refused: dict[str, MultinodeError] | None = None
) -> list[Item]:
    """The objects that are marked as part of a deployment, in the order in which it is deleted.

    Args:
        cluster: where.
        identity: the deployment, as namespace/name.
        refused: takes the kinds that this login may not list, each with the error.
    """
    items: list[Item] = []
    for api_version, kind in ownership.KINDS:
        for body in _listed(cluster, api_version, kind, {} if refused is None else refused):
            if identity in ownership.deployments(body):
                metadata = body["metadata"]
                resource = cluster.resource(api_version, kind)
                namespace = str(metadata.get("namespace") or "")
                items.append(Item(resource, str(metadata["name"]), namespace, body, found=body))
    return items


def _listed(
    cluster: Cluster, api_version: str, kind: str, refused: dict[str, MultinodeError]
) -> list[Object]:
    """What of a kind is ours; nothing where the kind is unknown or may not be listed."""
    try:
        resource = cluster.resource(api_version, kind)
        return cluster.list(resource, labels=ownership.SELECTOR)[0]
    except MultinodeError as error:
        if error.code not in (ExitCode.KIND_MISSING, ExitCode.FORBIDDEN):
            raise
        if error.code == ExitCode.FORBIDDEN:
            refused[kind] = error
        return []

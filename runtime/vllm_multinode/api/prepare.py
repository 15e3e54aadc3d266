"""What `deploy` and `up` ask before they write anything: the release, the engine, the rules, the cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.authoring.inputs import Inputs
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.deploy import Deployment
    from vllm_multinode.cluster.given import Given
    from vllm_multinode.cluster.images import SupportedEngine
    from vllm_multinode.platforms.releases import Release

RenderTarget = Literal["kserve", "lws"]


@dataclass(frozen=True)
class Manner:
    """How files are deployed.

    Attributes:
        release: what the cluster runs; None where that has nothing to do with it.
        target: what specs are rendered for.
        engine: that the platform supports, for specs that leave the image open.
        name: of the deployment, instead of its service's.
        force: go on although it will not serve.
        create_namespace: make it where it is missing.
        force_conflicts: take over what others own.
        dry_run: write nothing.
        say: told what a reader wants to know.
        warn: told what may be wrong.
    """

    release: "Release | None"
    target: RenderTarget = "kserve"
    engine: "SupportedEngine | None" = None
    name: str = ""
    force: bool = False
    create_namespace: bool = False
    force_conflicts: bool = False
    dry_run: bool = False
    say: Callable[[str], None] = lambda _: None
    warn: Callable[[str], None] = lambda _: None


def release_for(
    cluster: "Cluster",
    asked: "Release | None",
    *,
    needs_kserve: bool,
    say: Callable[[str], None] = lambda _: None,
) -> "Release | None":
    """The cluster's release, said where it was found out; None where KServe has nothing to do with it."""
    from vllm_multinode.cluster.versions import release_of

    if not needs_kserve:
        return None
    release, remark = release_of(cluster, asked)
    if remark:
        say(remark)
    return release


def prepared(cluster: "Cluster", files: "Inputs", manner: Manner) -> "tuple[Given, Deployment]":
    """The deployment as it will be written: what it needs is there, and nothing rejects it.

    Raises:
        MultinodeError: what will not serve, is missing, or is rejected by the cluster.
    """
    from vllm_multinode.api import source_check
    from vllm_multinode.authoring.spec.file import from_document
    from vllm_multinode.cluster import given as givens
    from vllm_multinode.cluster import needs, pods_needed, pools, source_claims
    from vllm_multinode.cluster.deploy import Deployment
    from vllm_multinode.cluster.token import with_tokens

    files, sentences = givens.with_engine(files, manner.engine)
    for sentence in sentences:
        manner.say(sentence)
    given = givens.for_release(files, manner.release, manner.target, manner.name)
    check(cluster, given, manner)
    for document in files.specs:
        spec = from_document(document)
        source_claims.size_of(cluster, spec.model.source or "")
        if told := pools.check(cluster, spec):
            manner.warn(told)
    wanted = Deployment(
        name=given.name,
        bodies=with_tokens(cluster, [document.body for document in given.documents]),
        create_namespace=manner.create_namespace,
        force_conflicts=manner.force_conflicts,
        dry_run=manner.dry_run,
    )
    needs.check(cluster, wanted.bodies)
    source_check.check(cluster, wanted.bodies, manner.warn)
    kept = {(str(body.get("kind")), str((body.get("metadata") or {}).get("name"))) for body in wanted.bodies}
    documents = [one for one in given.documents if (one.kind, one.name) in kept]
    pods_needed.check(cluster, [*documents, *givens.runtimes_of(cluster, given.documents)], manner.release)
    return given, wanted


def check(cluster: "Cluster", given: "Given", manner: Manner) -> None:
    """What `multinode validate` says; what will not serve ends it, unless that was asked for."""
    from vllm_multinode.authoring.report import as_lines
    from vllm_multinode.authoring.rules import validate
    from vllm_multinode.authoring.rules.model import named_model
    from vllm_multinode.cluster.given import runtimes_of
    from vllm_multinode.cluster.offers import largest_gpu
    from vllm_multinode.platforms.releases import MULTI_NODE_KSERVE

    documents = [*given.documents, *runtimes_of(cluster, given.documents)]
    releases = (manner.release,) if manner.release else MULTI_NODE_KSERVE
    model = named_model(given.documents)
    gpu = largest_gpu(cluster) if model is not None else None
    if model is not None and gpu is not None:
        manner.say(f"sizes are checked against {model.name}, which the model's path names, on {gpu.name}")
    found = validate(documents, releases, model, gpu)
    stopping = [one for one in found if one.blocks]
    for line in as_lines((one for one in found if one.severity != "advice"), releases):
        manner.warn(line)
    if stopping and not manner.force:
        more = f"{len(stopping)} findings" if len(stopping) > 1 else "1 finding"
        raise MultinodeError(
            ExitCode.WILL_NOT_SERVE,
            f"{given.name} will not serve: {more} above. Nothing was written.",
            hint="Correct it, or continue with --force.",
        )


def settle_namespace(cluster: "Cluster", asked: str, found: Sequence[str]) -> None:
    """Work in the namespace that the objects themselves name, as kubectl does.

    Raises:
        MultinodeError: USAGE where -n says otherwise.
    """
    named = sorted({name for name in found if name})
    if asked and any(name != asked for name in named):
        other = next(name for name in named if name != asked)
        raise MultinodeError(
            ExitCode.USAGE,
            f"-n {asked} was given, but an object is in namespace {other}.",
            hint="Omit -n, or remove the namespace from the object.",
        )
    if not asked and len(named) == 1:
        cluster.namespace = named[0]

"""`multinode deploy`: from a spec or manifests to a service that answers."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vllm_multinode.cli.cluster_options import (
    Context,
    Files,
    Kubeconfig,
    Login,
    MoreFiles,
    Namespace,
    say,
    settle_namespace,
    warn,
)
from vllm_multinode.cli.file_options import Parameters, Remote, reading, sources, tell_foreign
from vllm_multinode.cli.platform_options import NAMES, VARIABLE, Kserve, named
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.deploy import Deployed, Deployment, Outcome
    from vllm_multinode.cluster.given import Given
    from vllm_multinode.platforms.releases import Release

RenderTarget = Literal["kserve", "lws"]


def deploy(
    more: MoreFiles = None,
    files: Files = None,
    *,
    param: Parameters = None,
    remote: Remote = False,
    platform: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"{NAMES}; {VARIABLE}, or what the cluster runs, by default."),
    ] = None,
    kserve: Kserve = None,
    target: Annotated[RenderTarget, typer.Option(help="What a spec is rendered for.")] = "kserve",
    name: Annotated[
        str, typer.Option(help="Of the deployment; its service's by default.", show_default=False)
    ] = "",
    namespace: Namespace = "",
    create_namespace: Annotated[
        bool, typer.Option("--create-namespace", help="Make the namespace where it is missing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Go on although `validate` says that it will not serve.")
    ] = False,
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="Take over fields and objects that others own.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete what an earlier deployment made and this one lacks.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask the cluster, with every webhook, and write nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it serves.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait.")] = 3600,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    login: Login = "kubeconfig",
) -> int:
    """Check, apply and wait for a service; a second time changes nothing."""
    files_named = sources(files, more)
    asked = named(platform, kserve)
    from vllm_multinode.cluster import deploy as deploying
    from vllm_multinode.cluster import given as givens
    from vllm_multinode.cluster import needs
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.login import require_client
    from vllm_multinode.cluster.token import with_tokens

    require_client()
    # A mistake in a file is told before a cluster is asked.
    read = givens.read(files_named, reading(param, remote))
    given = givens.for_release(read, asked, target, name)
    tell_foreign(read)
    with Cluster.connect(
        kubeconfig=kubeconfig, context=context, namespace=namespace, source=login
    ) as cluster:
        settle_namespace(cluster, namespace, [document.namespace for document in given.documents])
        release = release_for(cluster, given, asked)
        if release != asked:
            given = givens.for_release(read, release, target, name)
        check(cluster, given, release, force=force)
        wanted = deploying.Deployment(
            name=given.name,
            bodies=with_tokens(cluster, [document.body for document in given.documents]),
            create_namespace=create_namespace,
            force_conflicts=force_conflicts,
            dry_run=dry_run,
        )
        needs.check(cluster, wanted.bodies)
        apply(cluster, given, wanted, timeout=timeout if wait else None, prune=prune)
    return ExitCode.OK


def apply(
    cluster: "Cluster", given: "Given", wanted: "Deployment", *, timeout: float | None, prune: bool = False
) -> None:
    """Write what was checked, the model first, and wait until it serves.

    Args:
        cluster: where.
        given: what was handed over.
        wanted: the same, as it is written.
        timeout: seconds for each of the two; None does not wait.
        prune: delete what an earlier deployment made and this one lacks.
    """
    from vllm_multinode.cluster import deploy as deploying

    waits = timeout is not None and not wanted.dry_run
    if timeout is not None and waits:
        _fetch(cluster, wanted, timeout)
    deployed = deploying.deploy(cluster, wanted, announce=say, done=_tell)
    _leftovers(cluster, deployed, given.name, prune=prune and not wanted.dry_run)
    if timeout is not None and waits:
        _wait(cluster, given, timeout)


def release_for(cluster: "Cluster", given: "Given", asked: "Release | None") -> "Release | None":
    """The cluster's release, said where it was found out; None where KServe has nothing to do with it."""
    from vllm_multinode.cluster.versions import release_of

    if not given.needs_kserve:
        return None
    release, remark = release_of(cluster, asked)
    if remark:
        say(remark)
    return release


def check(cluster: "Cluster", given: "Given", release: "Release | None", *, force: bool) -> None:
    """What `multinode validate` says; what will not serve ends it, unless that was asked for."""
    from vllm_multinode.authoring.report import as_lines
    from vllm_multinode.authoring.rules import validate
    from vllm_multinode.authoring.rules.model import named_model
    from vllm_multinode.cluster.given import runtimes_of
    from vllm_multinode.cluster.offers import largest_gpu
    from vllm_multinode.platforms.releases import MULTI_NODE_KSERVE

    documents = [*given.documents, *runtimes_of(cluster, given.documents)]
    releases = (release,) if release else MULTI_NODE_KSERVE
    model = named_model(given.documents)
    gpu = largest_gpu(cluster) if model is not None else None
    if model is not None and gpu is not None:
        say(f"sizes are held against {model.name}, which the path of the model names, on {gpu.name}")
    found = validate(documents, releases, model, gpu)
    stopping = [one for one in found if one.blocks]
    for line in as_lines((one for one in found if one.severity != "advice"), releases):
        warn(line)
    if stopping and not force:
        more = f"{len(stopping)} findings" if len(stopping) > 1 else "1 finding"
        raise MultinodeError(
            ExitCode.WILL_NOT_SERVE,
            f"{given.name} will not serve: {more} above. Nothing was written.",
            hint="Change it, or go on with --force.",
        )


def _fetch(cluster: "Cluster", wanted: "Deployment", timeout: float) -> None:
    """Bring the model first: no accelerator waits for it."""
    from vllm_multinode.cluster import deploy as deploying
    from vllm_multinode.cluster import ownership
    from vllm_multinode.cluster.fetching import await_job, is_fetch

    jobs = [str(body["metadata"]["name"]) for body in wanted.bodies if is_fetch(body)]
    if not jobs:
        return
    # All of it is asked for first, so that no service is refused after hours of fetching.
    deploying.deploy(cluster, replace(wanted, dry_run=True))
    before = [body for body in wanted.bodies if body.get("kind") not in ownership.SERVICES]
    deploying.deploy(cluster, replace(wanted, bodies=before), done=_tell)
    for name in jobs:
        say(f"Waiting for Job {cluster.namespace}/{name}, which brings the model")
        await_job(cluster, name, timeout=timeout, show=say)
        say(f"Job {cluster.namespace}/{name} is complete: the model is whole")


def _tell(outcome: "Outcome") -> None:
    say(f"{outcome.shown} {outcome.result}" + (f" ({outcome.remark})" if outcome.remark else ""))


def _leftovers(cluster: "Cluster", deployed: "Deployed", name: str, *, prune: bool) -> None:
    """What an earlier deployment made and this one has not."""
    from vllm_multinode.cli.delete import report
    from vllm_multinode.cluster import delete as deleting

    if not deployed.leftovers:
        return
    if prune:
        report(deleting.delete(cluster, deployed.leftovers, name, say=say))
        return
    for item in deployed.leftovers:
        say(f"{item.shown} is left from before; --prune deletes it")


def _wait(cluster: "Cluster", given: "Given", timeout: float) -> None:
    from vllm_multinode.cli.wait import follow
    from vllm_multinode.cluster import ownership
    from vllm_multinode.cluster.routers import is_router
    from vllm_multinode.cluster.wait import Target

    services = [one for one in given.documents if one.kind in ownership.SERVICES]
    routers = [one.name for one in given.documents if is_router(one.body)]
    found = [Target(one.api_version, one.kind, one.name) for one in services]
    follow(cluster, found, timeout, routers=routers)

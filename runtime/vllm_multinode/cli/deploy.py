"""`multinode deploy`: from a spec or manifests to a service that answers."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import click

from vllm_multinode.api.prepare import Manner, RenderTarget, prepared, release_for, settle_namespace
from vllm_multinode.cli.answer import Answer, OutputFormat, answering
from vllm_multinode.cli.aside import progress
from vllm_multinode.cli.cluster_options import (
    Context,
    CreateNamespace,
    Files,
    Kubeconfig,
    Login,
    MoreFiles,
    Namespace,
    warn,
)
from vllm_multinode.cli.declare import Option
from vllm_multinode.cli.file_options import Parameters, Remote, reading, sources, tell_foreign
from vllm_multinode.cli.platform_options import ClusterPlatform, Kserve, named
from vllm_multinode.cli.source_size import sized, sized_in, whatever_size
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.deploy import Deployed, Deployment, Outcome
    from vllm_multinode.cluster.given import Given


def deploy(
    more: MoreFiles = None,
    files: Files = None,
    *,
    param: Parameters = None,
    remote: Remote = False,
    platform: ClusterPlatform = None,
    kserve: Kserve = None,
    target: Annotated[RenderTarget, Option(help="Kind of object to render a spec as.")] = "kserve",
    name: Annotated[
        str, Option(help="Name of the deployment; its service's by default.", show_default=False)
    ] = "",
    namespace: Namespace = "",
    create_namespace: CreateNamespace = False,
    force: Annotated[
        bool, Option("--force", help="Continue although `validate` finds that it will not serve.")
    ] = False,
    force_conflicts: Annotated[
        bool, Option("--force-conflicts", help="Take ownership of fields and objects that others own.")
    ] = False,
    prune: Annotated[
        bool, Option("--prune", help="Delete objects of an earlier deployment that this one no longer has.")
    ] = False,
    dry_run: Annotated[
        bool,
        Option("--dry-run", help="Send everything to the cluster as a server-side dry run; write nothing."),
    ] = False,
    wait: Annotated[bool, Option(help="Wait until it serves.")] = True,
    timeout: Annotated[float, Option(min=1, help="Seconds to wait.")] = 3600,
    output: OutputFormat = "text",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    login: Login = "kubeconfig",
) -> int:
    """Check, apply and wait for a service; running it again changes nothing.

    multinode deploy -f llama.yaml -n models

    multinode deploy llama/ --dry-run -o json
    """
    files_named = sources(files, more)
    asked = named(platform, kserve)
    from vllm_multinode.cluster import given as givens
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.images import supported_engine
    from vllm_multinode.cluster.login import require_client

    require_client()
    # A mistake in a file is told before a cluster is asked.
    read = sized(givens.read(files_named, reading(param, remote)))
    given = givens.for_release(whatever_size(read), asked, target, name)
    tell_foreign(read)
    with Cluster.connect(
        kubeconfig=kubeconfig, context=context, namespace=namespace, source=login
    ) as cluster:
        settle_namespace(cluster, namespace, [document.namespace for document in given.documents])
        release = release_for(cluster, asked, needs_kserve=given.needs_kserve, say=progress)
        read = sized_in(cluster, read)
        manner = Manner(
            release, target, supported_engine(cluster, release) if read.specs else None, name,
            force=force, create_namespace=create_namespace, force_conflicts=force_conflicts, dry_run=dry_run,
            say=progress, warn=warn,
        )  # fmt: skip
        given, wanted = prepared(cluster, read, manner)
        fixed = {"deployment": given.name, "namespace": cluster.namespace, "dryRun": dry_run, "objects": []}
        with answering(output, **fixed) as answer:
            apply(cluster, given, wanted, answer, timeout=timeout if wait else None, prune=prune)
    return ExitCode.OK


def apply(
    cluster: "Cluster",
    given: "Given",
    wanted: "Deployment",
    answer: Answer,
    *,
    timeout: float | None,
    prune: bool = False,
) -> None:
    """Write what was checked, the model first, and wait until it serves.

    Args:
        cluster: where.
        given: what was handed over.
        wanted: the same, as it is written.
        answer: given `objects`, `leftovers`, and what `wait` says.
        timeout: seconds for each of the two; None does not wait.
        prune: delete what an earlier deployment made and this one lacks.
    """
    try:
        _apply(cluster, given, wanted, answer, timeout=timeout, prune=prune)
    except KeyboardInterrupt:
        if not wanted.dry_run:
            warn(
                "stopped. What was written stays and continues in the cluster. Run the same command again to "
                f"follow it, or `multinode delete {given.name} -n {cluster.namespace}`."
            )
        # click writes an empty line when it sees the interrupt itself.
        raise click.Abort from None


def _apply(
    cluster: "Cluster",
    given: "Given",
    wanted: "Deployment",
    answer: Answer,
    *,
    timeout: float | None,
    prune: bool,
) -> None:
    from vllm_multinode.api import applying

    waits = timeout is not None and not wanted.dry_run
    done = partial(_tell, answer)
    deployed = applying.apply(cluster, wanted, timeout=timeout, say=progress, done=done)
    _leftovers(cluster, deployed, given.name, answer, prune=prune and not wanted.dry_run)
    if timeout is not None and waits:
        _wait(cluster, given, timeout, answer)


def _tell(answer: Answer, outcome: "Outcome") -> None:
    text = f"{outcome.shown} {outcome.result}" + (f" ({outcome.remark})" if outcome.remark else "")
    answer.item(
        text, "objects", {"object": outcome.shown, "result": outcome.result, "remark": outcome.remark}
    )


def _leftovers(cluster: "Cluster", deployed: "Deployed", name: str, answer: Answer, *, prune: bool) -> None:
    """What an earlier deployment made and this one has not."""
    from vllm_multinode.cli.delete import report
    from vllm_multinode.cluster import delete as deleting

    if not deployed.leftovers:
        return
    if prune:
        left = deleting.Marked(list(deployed.leftovers))
        report(deleting.delete(cluster, left, name, say=progress), answer)
        return
    for item in deployed.leftovers:
        answer.item(
            f"{item.shown} is left over from an earlier deployment; --prune deletes it",
            "leftovers",
            {"object": item.shown},
        )


def _wait(cluster: "Cluster", given: "Given", timeout: float, answer: Answer) -> None:
    from vllm_multinode.authoring.render.router import is_router
    from vllm_multinode.cli.wait import follow
    from vllm_multinode.cluster import ownership
    from vllm_multinode.cluster.wait import Target

    services = [one for one in given.documents if one.kind in ownership.SERVICES]
    routers = [one.name for one in given.documents if is_router(one.body)]
    found = [Target(one.api_version, one.kind, one.name) for one in services]
    follow(cluster, found, timeout, answer, routers=routers)

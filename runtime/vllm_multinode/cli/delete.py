"""`multinode delete`: what a deployment made, and nothing else."""

from typing import TYPE_CHECKING, Annotated

from vllm_multinode.api.prepare import settle_namespace
from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import Answer, OutputFormat, answering
from vllm_multinode.cli.aside import progress
from vllm_multinode.cli.cluster_options import Context, Files, Kubeconfig, Login, Namespace
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.cli.file_options import Parameters, Remote, reading
from vllm_multinode.cli.source_size import whatever_size
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.cluster.delete import Deleted


def delete(
    name: Annotated[
        str,
        Argument(
            help="The deployment; or name its files with -f.",
            show_default=False,
            complete=completions.services,
        ),
    ] = "",
    files: Files = None,
    *,
    param: Parameters = None,
    remote: Remote = False,
    claim: Annotated[bool, Option("--claim", help="Delete its claims too, with the model in them.")] = False,
    namespace: Namespace = "",
    timeout: Annotated[
        float, Option(min=0, help="Seconds to wait until its pods are gone; 0 does not wait.")
    ] = 300,
    output: OutputFormat = "text",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    login: Login = "kubeconfig",
) -> int:
    """Delete a deployment; list and keep what others own or still use.

    multinode delete llama -n models

    multinode delete -f llama.yaml --claim -o json
    """
    if bool(name) == bool(files):
        raise MultinodeError(ExitCode.USAGE, "give either a deployment's name or its files with -f.")
    from vllm_multinode.cluster import delete as deleting
    from vllm_multinode.cluster import given as givens
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.login import require_client

    require_client()
    how = reading(param, remote)
    if name and (param or remote):
        raise MultinodeError(ExitCode.USAGE, "--param and --remote need files.", hint="Leave them out.")
    read = whatever_size(givens.read(files, how)) if files else None
    given = givens.for_release(read) if read is not None else None
    with Cluster.connect(
        kubeconfig=kubeconfig, context=context, namespace=namespace, source=login
    ) as cluster:
        if given is not None:
            settle_namespace(cluster, namespace, [document.namespace for document in given.documents])
            name = given.name
        if given is not None and read is not None and not read.specs:
            marked = deleting.of_bodies(cluster, [document.body for document in given.documents])
        else:
            # What a spec was rendered to depends on how it was deployed; the marks know.
            marked = deleting.of_name(cluster, name)
        with answering(output, deployment=name, namespace=cluster.namespace, deleted=[], kept=[]) as answer:
            deleted = deleting.delete(cluster, marked, name, claim=claim, timeout=timeout, say=progress)
            report(deleted, answer)
            if not deleted.gone:
                answer.line(f"{name} has nothing to delete in namespace {cluster.namespace}.")
    return ExitCode.OK


def report(deleted: "Deleted", answer: Answer) -> None:
    """One line, or one entry, for each object."""
    for shown in deleted.gone:
        answer.item(f"{shown} deleted", "deleted", {"object": shown})
    for shown, why in deleted.kept:
        answer.item(f"{shown} kept: {why}", "kept", {"object": shown, "reason": why})
    if deleted.unlisted:
        kinds = ", ".join(deleted.unlisted)
        answer.line(
            f"Not looked for, because this login may not list them: {kinds}.", unlisted=deleted.unlisted
        )

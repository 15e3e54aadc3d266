"""What every command that talks to a cluster has in common: its options, and how it says something."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import click

from vllm_multinode.cli import completions
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.cluster.client import Cluster

LoginSource = Literal["kubeconfig", "oc"]

Namespace = Annotated[
    str, Option("--namespace", "-n", help="Namespace; the kubeconfig's by default.", show_default=False)
]
Context = Annotated[str, Option(help="Context of the kubeconfig.", show_default=False)]
Kubeconfig = Annotated[
    str,
    Option(help="Instead of KUBECONFIG and ~/.kube/config.", show_default=False, complete=completions.files),
]
Login = Annotated[LoginSource, Option(help="Whose login: the kubeconfig's, or what oc uses now.")]
Files = Annotated[
    list[str] | None,
    Option(
        "--file",
        "-f",
        help="Manifests, a Template, a spec, a folder, or - for stdin; repeatable.",
        complete=completions.files,
    ),
]
MoreFiles = Annotated[
    list[str] | None, Argument(help="The same without -f.", show_default=False, complete=completions.files)
]


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
            f"-n {asked} was asked for, and an object is in namespace {other}.",
            hint="Leave -n out, or the namespace in the object.",
        )
    if not asked and len(named) == 1:
        cluster.namespace = named[0]


def say(text: str) -> None:
    """A line on standard output, at once."""
    click.echo(text)


def warn(text: str) -> None:
    """A line on standard error."""
    click.echo(f"multinode: {text}", err=True)

"""What every command that talks to a cluster has in common: its options, and how it says something."""

from typing import Annotated, Literal

import click

from vllm_multinode.cli import completions
from vllm_multinode.cli.declare import Argument, Option

LoginSource = Literal["kubeconfig", "oc"]

Namespace = Annotated[
    str, Option("--namespace", "-n", help="Namespace; the kubeconfig's by default.", show_default=False)
]
CreateNamespace = Annotated[
    bool, Option("--create-namespace", help="Create the namespace if it does not exist.")
]
Context = Annotated[str, Option(help="Context of the kubeconfig.", show_default=False)]
Kubeconfig = Annotated[
    str,
    Option(
        help="A kubeconfig, instead of KUBECONFIG and ~/.kube/config.",
        show_default=False,
        complete=completions.files,
    ),
]
Login = Annotated[LoginSource, Option(help="Login to use: the kubeconfig's, or the current session of oc.")]
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
    list[str] | None, Argument(help="Files, without -f.", show_default=False, complete=completions.files)
]


def say(text: str) -> None:
    """A line on standard output, at once."""
    click.echo(text)


def warn(text: str) -> None:
    """A line on standard error."""
    click.echo(f"multinode: {text}", err=True)

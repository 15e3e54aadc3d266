"""How files are read: the same options in every command that takes manifests."""

from collections.abc import Sequence
from typing import Annotated

import typer

from vllm_multinode.k8s.documents import Reading
from vllm_multinode.k8s.files import parameters_of

Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="A parameter of an OpenShift Template. Repeatable."),
]
Remote = Annotated[bool, typer.Option("--remote", help="Let a kustomization load what it names by a URL.")]


def reading(parameters: Sequence[str] | None, remote: bool) -> Reading:
    """What the options say.

    Raises:
        MultinodeError: USAGE, for a parameter that is not NAME=VALUE.
    """
    return Reading(parameters=parameters_of(parameters or ()), remote=remote)

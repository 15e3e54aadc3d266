"""How files are read: the same options in every command that takes manifests."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from vllm_multinode.cli.aside import aside
from vllm_multinode.cli.declare import Option
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.authoring.inputs import Inputs
    from vllm_multinode.k8s.documents import Reading

Parameters = Annotated[
    list[str] | None,
    Option("--param", metavar="NAME=VALUE", help="A parameter of an OpenShift Template. Repeatable."),
]
Remote = Annotated[bool, Option("--remote", help="Allow a kustomization to load resources from URLs.")]


def sources(files: Sequence[str] | None, more: Sequence[str] | None = None) -> list[str]:
    """Every file or folder that was named, each once.

    Raises:
        MultinodeError: USAGE, for none.
    """
    named = list(dict.fromkeys([*(files or []), *(more or [])]))
    if not named:
        raise MultinodeError(ExitCode.USAGE, "no file is given.", hint="Name one with -f.")
    return named


def reading(parameters: Sequence[str] | None, remote: bool) -> "Reading":
    """What the options say.

    Raises:
        MultinodeError: USAGE, for a parameter that is not NAME=VALUE.
    """
    # What reads YAML is loaded where a command runs, not for its --help.
    from vllm_multinode.k8s.documents import Reading
    from vllm_multinode.k8s.files import parameters_of

    return Reading(parameters=parameters_of(parameters or ()), remote=remote)


def tell_foreign(given: "Inputs") -> None:
    """A note for each object that serves models in another way, and is not checked."""
    from vllm_multinode.authoring.inputs import place

    for document, foreign in given.foreign():
        aside(f"note: {place(document)}: {foreign.sentence} {foreign.hint}")

"""Which release is meant: the same options, variable and default in every command."""

import os
from collections.abc import Sequence
from typing import Annotated, Final

from vllm_multinode.cli import completions
from vllm_multinode.cli.aside import aside
from vllm_multinode.cli.declare import Option
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import DEFAULT, MULTI_NODE, Release, find

VARIABLE: Final = env.PLATFORM
ALL: Final = "all"

_NAMES: Final = "kserve-0.19.0, openshift-ai-2.25, …"
_PLATFORM_HELP: Final = f"{_NAMES}; {VARIABLE}, or {DEFAULT.name}, by default."
_KSERVE_HELP: Final = "The same by KServe's version alone: 0.19.0."

Platform = Annotated[
    str | None,
    Option(metavar="NAME", help=_PLATFORM_HELP, show_default=False, complete=completions.platforms),
]
ClusterPlatform = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help=f"{_NAMES}; {VARIABLE}, or what the cluster runs, by default.",
        complete=completions.platforms,
    ),
]
Kserve = Annotated[
    str | None,
    Option(metavar="VERSION", help=_KSERVE_HELP, show_default=False, complete=completions.kserve_versions),
]
Platforms = Annotated[
    list[str] | None,
    Option(
        "--platform",
        metavar="NAME",
        help=f"{_PLATFORM_HELP} Repeatable; {ALL} for every one.",
        complete=completions.all_platforms,
    ),
]
KserveVersions = Annotated[
    list[str] | None,
    Option(
        "--kserve",
        metavar="VERSION",
        help=f"{_KSERVE_HELP} Repeatable.",
        complete=completions.kserve_versions,
    ),
]


def named(platform: str | None, kserve: str | None) -> Release | None:
    """The release that the options or the variable name; None where neither does.

    Raises:
        MultinodeError: USAGE, for what names no release, or for both options at once.
    """
    if platform is not None and kserve is not None:
        raise MultinodeError(
            ExitCode.USAGE, "--platform and --kserve both give the release.", hint="Keep one of them."
        )
    places = (("--platform", platform), ("--kserve", kserve), (VARIABLE, os.environ.get(VARIABLE) or None))
    return next((_found(text, place) for place, text in places if text is not None), None)


def chosen(platform: str | None, kserve: str | None) -> Release:
    """The release that is named, or the default.

    Raises:
        MultinodeError: as `named`.
    """
    return named(platform, kserve) or DEFAULT


def all_chosen(platforms: Sequence[str] | None, versions: Sequence[str] | None) -> tuple[Release, ...]:
    """Every release that is named, each once; the default where none is.

    Raises:
        MultinodeError: as `named`.
    """
    texts = platforms or ([] if versions else os.environ.get(VARIABLE, "").split())
    place = "--platform" if platforms else VARIABLE
    found: list[Release] = []
    for text in texts:
        found += MULTI_NODE if text == ALL else [_found(text, place)]
    found += [_found(text, "--kserve") for text in versions or ()]
    return tuple(dict.fromkeys(found)) or (DEFAULT,)


def tell(release: Release) -> None:
    """On standard error, what is assumed of a release that is not known."""
    if release.remark:
        aside(f"note: {release.remark}")


def _found(text: str, place: str) -> Release:
    try:
        return find(text)
    except MultinodeError as error:
        raise MultinodeError(error.code, error.what, where=place, hint=error.hint) from error

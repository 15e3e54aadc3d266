"""From what a user or a cluster calls a release to its record, or to that of the nearest known one."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import kserve, openshift_ai
from vllm_multinode.platforms.releases.release import TITLES, Product, Release

RELEASES: Final[dict[Product, tuple[Release, ...]]] = {
    "kserve": kserve.RELEASES,
    "openshift-ai": openshift_ai.RELEASES,
}
"""Every release that is known, oldest first."""

DEFAULT: Final = kserve.V0_19_0
"""Taken where nobody names one: the newest KServe that serves over several nodes."""

MULTI_NODE: Final = tuple(one for known in RELEASES.values() for one in known if one.knows_worker_spec)
"""Every known release that makes services over several nodes: KServe's first, oldest first."""
MULTI_NODE_KSERVE: Final = tuple(one for one in MULTI_NODE if one.product == "kserve")
"""Those of KServe itself."""

_PRODUCTS: Final[dict[str, Product]] = {
    "kserve": "kserve",
    "openshift-ai": "openshift-ai",
    "rhoai": "openshift-ai",
}
_WRITTEN: Final = re.compile(
    rf"(?:(?P<product>{'|'.join(_PRODUCTS)})-)?v?(?P<number>\d{{1,5}}(?:\.\d{{1,5}}){{1,2}})(?:[-+][\w.+-]*)?",
    re.ASCII,
)
# A DataScienceCluster lists this as the version of its KServe, whichever fork it carries.
_SHOWN_BY_OPENSHIFT_AI: Final = "0.14.0"
_SHORTEST_RANGE: Final = 3


class _Neighbours(NamedTuple):
    """The known releases on both sides of one that is not, and the nearer of them."""

    older: Release
    newer: Release | None
    nearest: Release


def find(text: str) -> Release:
    """The release that `text` names; its `remark` says what is assumed where it is not known.

    Args:
        text: kserve-0.19.0, openshift-ai-2.25, rhoai-2.25, or KServe's number alone, with or without a v.

    Raises:
        MultinodeError: USAGE for what names no release, or one that is too old or too new to say anything of.
    """
    written = _WRITTEN.fullmatch(text.strip().lower())
    if written is None:
        raise MultinodeError(
            ExitCode.USAGE, f"'{text}' names no release of KServe or OpenShift AI.", hint=_hint()
        )
    product = _PRODUCTS[written["product"] or "kserve"]
    number = _number(product, written["number"])
    known = RELEASES[product]
    exact = next((one for one in known if one.number == number), None)
    if exact is not None:
        return exact
    if text.strip().lower().removeprefix("v") == _SHOWN_BY_OPENSHIFT_AI:
        raise _shown_by_openshift_ai()
    _check_number(product, number)
    return _assumed(known, number)


def require_multi_node(release: Release) -> Release:
    """The release itself, where it makes services over several nodes at all.

    Raises:
        MultinodeError: USAGE, where it drops workerSpec.
    """
    if not release.knows_worker_spec:
        raise MultinodeError(
            ExitCode.USAGE,
            f"{release.label} drops workerSpec silently, so nothing is multi-node there.",
            hint="Use KServe 0.15.1 or OpenShift AI 2.16, or newer; or --target lws.",
        )
    return release


def known_numbers(product: Product = "kserve") -> str:
    """The numbers of the known releases, as a sentence lists them."""
    return ", ".join(one.number for one in RELEASES[product])


def alternative(release: Release) -> str:
    """A sentence: what to use where a release never serves over several nodes."""
    if release.product == "kserve":
        return f"Use KServe {DEFAULT.number}, or a LeaderWorkerSet: multinode render --target lws."
    return "Use a LeaderWorkerSet: multinode render --target lws."


def listed(releases: Sequence[Release]) -> str:
    """Releases as a sentence names them: KServe 0.18.1, 0.19.0; OpenShift AI 2.16 to 2.22, 2.25."""
    parts = []
    for product, title in TITLES.items():
        given = [one for one in releases if one.product == product]
        if given:
            parts.append(f"{title} {', '.join(_ranges(product, given))}")
    return "; ".join(parts)


def _ranges(product: Product, releases: Sequence[Release]) -> list[str]:
    """The numbers, three or more known neighbours as a range."""
    order = {one.number: place for place, one in enumerate(RELEASES[product])}
    runs: list[list[str]] = []
    for one in releases:
        place = order.get(one.number)
        if runs and place is not None and order.get(runs[-1][-1]) == place - 1:
            runs[-1].append(one.number)
        else:
            runs.append([one.number])
    return [", ".join(run) if len(run) < _SHORTEST_RANGE else f"{run[0]} to {run[-1]}" for run in runs]


def _hint() -> str:
    first, last = RELEASES["openshift-ai"][0].name, RELEASES["openshift-ai"][-1].name
    return f"Known: KServe {known_numbers()}; {first} to {last}."


def _number(product: Product, written: str) -> str:
    """The number as its product writes it: KServe's with three parts, OpenShift AI's with two."""
    parts = [str(int(part)) for part in written.split(".")]
    return ".".join([*parts, "0"][:3] if product == "kserve" else parts[:2])


def _key(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in number.split("."))


def _shown_by_openshift_ai() -> MultinodeError:
    return MultinodeError(
        ExitCode.USAGE,
        f"{_SHOWN_BY_OPENSHIFT_AI} is what the DataScienceCluster of OpenShift AI 2.18 to 3.0 shows for its "
        "KServe; those releases carry something else.",
        hint="Write --platform openshift-ai-2.25, or your release; for KServe's own, --kserve 0.14.1.",
    )


def _check_number(product: Product, number: str) -> None:
    """Refuse a number that cannot be one of its product.

    Raises:
        MultinodeError: USAGE, naming OpenShift AI where its number was given for KServe's.
    """
    known, key = RELEASES[product], _key(number)
    others = {one.key[0] for one in RELEASES["openshift-ai"]}
    if product == "kserve" and key[0] in others:
        short = ".".join(number.split(".")[:2])
        raise MultinodeError(
            ExitCode.USAGE,
            f"there is no KServe {number}; {short} is a release of OpenShift AI.",
            hint=f"Write --platform openshift-ai-{short}.",
        )
    if key[:2] < known[0].key[:2] or key[0] > known[-1].key[0] + 1:
        age = "older" if key < known[0].key else "newer"
        raise MultinodeError(
            ExitCode.USAGE,
            f"{TITLES[product]} {number} is {age} than any known release.",
            hint=_hint(),
        )


def _assumed(known: tuple[Release, ...], number: str) -> Release:
    """The nearest release under the number that was asked for, without bugs that only one neighbour has."""
    around = _neighbours(known, _key(number))
    nearest, other = around.nearest, around.newer if around.nearest is around.older else around.older
    alone = {name: issue for name, issue in nearest.bugs.items() if other is None or name not in other.bugs}
    verb = "is" if len(alone) == 1 else "are"
    dropped = f" {' and '.join(alone.values())} {verb} not assumed." if alone else ""
    title = TITLES[nearest.product]
    return replace(
        nearest.without(alone),
        number=number,
        remark=f"{title} {number} is unknown; the behaviour of {nearest.number} is assumed.{dropped}",
    )


def _neighbours(known: tuple[Release, ...], key: tuple[int, ...]) -> _Neighbours:
    """One of the same minor release is nearer than any other; otherwise the older one is taken."""
    older = [one for one in known if one.key < key] or [known[0]]
    newer = next((one for one in known if one.key > key), None)
    is_same_minor = newer is not None and len(key) > 2 and newer.key[:2] == key[:2] != older[-1].key[:2]
    return _Neighbours(older[-1], newer, newer if newer is not None and is_same_minor else older[-1])

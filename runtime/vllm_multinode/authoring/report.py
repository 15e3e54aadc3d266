"""Findings as text and as plain data."""

from collections.abc import Iterable, Iterator
from typing import Any

from vllm_multinode.contract.finding import SEVERITIES, Finding
from vllm_multinode.contract.text import shown
from vllm_multinode.platforms.releases import Release, listed


def as_object(finding: Finding) -> dict[str, Any]:
    """As `multinode validate -o json` prints it."""
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "releases": [release.name for release in finding.releases],
        "file": finding.file,
        "kind": finding.kind,
        "name": finding.name,
        "path": finding.path,
        "line": finding.line,
        "message": finding.message,
        "hint": finding.hint,
    }


def as_lines(findings: Iterable[Finding], asked: tuple[Release, ...]) -> Iterator[str]:
    """One line a finding, what matters most first; advice for several places once, with all of them.

    Args:
        findings: in any order.
        asked: releases; those of a finding are named where it does not hold for all of them.
    """
    ordered = sorted(findings, key=order)
    repeated: dict[tuple[object, ...], list[Finding]] = {}
    for finding in ordered:
        is_own = finding.blocks
        key = (
            finding.rule,
            finding.message,
            finding.hint,
            finding.releases,
            finding.file,
            is_own and id(finding),
        )
        repeated.setdefault(key, []).append(finding)
    for same in repeated.values():
        yield _line(same, asked)


def _line(same: list[Finding], asked: tuple[Release, ...]) -> str:
    first = same[0]
    places = list(dict.fromkeys(map(place, same)))
    more = (
        f" (also {', '.join(_short(one, first) for one in same if place(one) != places[0])})"
        if len(places) > 1
        else ""
    )
    held = f" ({listed(first.releases)})" if first.releases != asked else ""
    message = _sentence(first.message)
    return shown(f"{places[0]}: {first.severity} {first.rule}: {message} {first.hint}{more}{held}")


def _sentence(message: str) -> str:
    """A message with a capital at its start, unless it starts with a name that is written as it is."""
    word = message.partition(" ")[0]
    is_plain = word.rstrip(",:").isalpha() and word.islower() and word != "kubectl"
    return message[:1].upper() + message[1:] if is_plain else message


def _short(finding: Finding, first: Finding) -> str:
    """Another place of the same file."""
    if finding.line and finding.file == first.file:
        return f"line {finding.line}"
    return place(finding)


def place(finding: Finding) -> str:
    """File and line, or the object and the path in it."""
    if finding.line:
        return f"{finding.file}:{finding.line}"
    return f"{finding.file}: {finding.kind}/{finding.name} {finding.path}"


def order(finding: Finding) -> tuple[int, str, int, str]:
    """Worst first, then files and lines in order."""
    return (SEVERITIES.index(finding.severity), finding.file, finding.line or 0, finding.rule)

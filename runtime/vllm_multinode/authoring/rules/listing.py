"""The rules as a page: docs/rules.md."""

from typing import Final

from vllm_multinode.authoring.rules import RULES, SEVERITIES, Rule, Severity
from vllm_multinode.platforms.versions import VERSIONS, Version

_KNOWN: Final = ("0.14.1", *VERSIONS)
_TITLES: Final[dict[Severity, str]] = {
    "refused": "Refused: the API server or KServe's webhook does not take it",
    "stalls": "Stalls: it is accepted and never serves",
    "risk": "Risk: it may serve, but not as it is meant",
    "advice": "Advice",
}
_HEAD: Final = """# Rules of `multinode validate`

`scripts/rules-doc` writes this page from the rules; each one has an example in
`tests/data/rules/<rule>.yaml`. Exit code 4 where anything is refused or stalls. KServe v0.15.0 is also
OpenShift AI 2.14 to 2.16; later releases behave like the upstream version that they carry. Where no version
is named, a rule holds for all.
"""


def as_markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for severity in SEVERITIES:
        rows = [_row(rule) for rule in RULES if rule.severity == severity]
        head = "| rule | KServe | what happens | how to fix it | seen in |\n|---|---|---|---|---|"
        parts.append("\n".join((f"## {_TITLES[severity]}\n", head, *rows, "")))
    return "\n".join(parts)


def versions(rule: Rule) -> str:
    """The versions that a rule holds for, as people write a range; empty for all."""
    held = [label for label in _KNOWN if rule.holds(_number(label))]
    if held in (list(_KNOWN), list(VERSIONS)) or rule.kinds == ("LeaderWorkerSet",):
        return ""
    if len(held) == 1:
        return held[0]
    return f"from {held[0]}" if held[-1] == _KNOWN[-1] else f"{held[0]} to {held[-1]}"


def _row(rule: Rule) -> str:
    cells = (f"`{rule.id}`", versions(rule), rule.message, rule.hint, rule.seen)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(label: str) -> Version:
    major, minor, patch = (int(part) for part in label.split("."))
    return major, minor, patch

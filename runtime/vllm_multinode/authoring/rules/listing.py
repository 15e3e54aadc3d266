"""The rules as a page: docs/rules.md."""

from typing import Final

from vllm_multinode.authoring.rules import RULES, SEVERITIES, Rule, Severity
from vllm_multinode.platforms.releases import MULTI_NODE_KSERVE, RELEASES

_TITLES: Final[dict[Severity, str]] = {
    "refused": "Refused: the API server or KServe's webhook does not take it",
    "stalls": "Stalls: it is accepted and never serves",
    "risk": "Risk: it may serve, but not as it is meant",
    "advice": "Advice",
}
_HEAD: Final = """# Rules of `multinode validate`

`scripts/rules-doc` writes this page from the rules; each one has an example in
`tests/data/rules/<rule>.yaml`. Exit code 4 where anything is refused or stalls, from `validate`, `preview`
and `deploy` alike. The column KServe names its versions; a release of OpenShift AI is asked for its own
behaviours (`--platform openshift-ai-2.25`). Where no version is named, a rule holds for all.
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
    known = RELEASES["kserve"]
    held = tuple(one for one in known if rule.holds(one))
    if held in (known, MULTI_NODE_KSERVE) or rule.kinds == ("LeaderWorkerSet",):
        return ""
    if not held:
        return "OpenShift AI"
    first, last = held[0].number, held[-1].number
    if len(held) == 1:
        return first
    return f"from {first}" if held[-1] == known[-1] else f"{first} to {last}"


def _row(rule: Rule) -> str:
    cells = (f"`{rule.id}`", versions(rule), rule.message, rule.hint, rule.seen)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

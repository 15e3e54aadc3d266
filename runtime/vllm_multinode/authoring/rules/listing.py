"""The rules as a page: docs/rules.md."""

from typing import Final

from vllm_multinode.authoring.rules import RULES, SEVERITIES, Rule, Severity
from vllm_multinode.platforms.releases import MULTI_NODE, RELEASES, listed

_TITLES: Final[dict[Severity, str]] = {
    "refused": "Refused: the API server or KServe's webhook rejects it",
    "stalls": "Stalls: it is accepted but never serves",
    "risk": "Risk: it may serve, but not as intended",
    "advice": "Advice",
}
_HEAD: Final = """# Rules of `multinode validate`

`scripts/generate rules` writes this page from the rules; each one has an example in
`tests/data/rules/<rule>.yaml`. Exit code 4 where anything is rejected or stalls, from `validate`, `preview`
and `deploy` alike. Where no release is named, a rule holds for all.
"""


def as_markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for severity in SEVERITIES:
        rows = [_row(rule) for rule in RULES if rule.severity == severity]
        head = "| rule | releases | what happens | how to fix it | seen in |\n|---|---|---|---|---|"
        parts.append("\n".join((f"## {_TITLES[severity]}\n", head, *rows, "")))
    return "\n".join(parts)


def releases(rule: Rule) -> str:
    """The releases that a rule holds for, as a sentence names them; empty for all, or all with workers."""
    known = tuple(one for product in RELEASES.values() for one in product)
    held = tuple(one for one in known if rule.holds(one))
    return "" if held in (known, MULTI_NODE) or rule.kinds == ("LeaderWorkerSet",) else listed(held)


def _row(rule: Rule) -> str:
    cells = (f'<a id="{rule.id}"></a>`{rule.id}`', releases(rule), rule.message, rule.hint, rule.seen)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("](", "]\\(") for cell in cells) + " |"

"""docs/rules.md is what scripts/generate rules writes."""

from pathlib import Path

from vllm_multinode.authoring.rules import RULES
from vllm_multinode.authoring.rules.listing import as_markdown

PAGE = Path(__file__).parents[3] / "docs" / "rules.md"


def test_page_is_what_the_rules_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown(), "run scripts/generate rules"


def test_every_rule_has_a_line() -> None:
    lines = as_markdown().splitlines()
    for rule in RULES:
        assert sum(line.startswith(f"| `{rule.id}` |") for line in lines) == 1

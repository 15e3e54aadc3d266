"""Documentation and messages use the usual words: each phrase here was once in them, to be read twice."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.docs.console import ROOT, pages

QUAINT = re.compile(
    r"""\bfor\ ever\b|\banew\b|\bmend(?:s|ed)?\b|\bin\ silence\b|\basks\ nobody\b|\bas\ ever\b|\bstumbles?\b
    |\bwhat\ was\ made\b|\bname\ that\ is\ none\b|\bwhoever\ may\b|\bcannot\ be\ had\b""",
    re.VERBOSE,
)
IS_NO = re.compile(
    r"(?<![Tt]here )\bis no (?:YAML|JSON|text|list|mapping|number|quantity|image|file|name (?:of|for))\b"
)
"""On pages; a message says it with fewer words at times."""
MODULES = sorted((ROOT / "runtime/vllm_multinode").rglob("*.py"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_quaint_phrase(page: Path) -> None:
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert QUAINT.findall(text) + IS_NO.findall(text) == []


def test_no_message_has_a_quaint_phrase() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in MODULES
        for line, text in _texts(path)
        if QUAINT.search(text)
    ]
    assert found == []


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each string of a module that is not documentation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, " ".join(node.value.split())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a run asks nobody and ends", id="asks-nobody"),
        pytest.param("'x' is no quantity; write 16Gi", id="is-no"),
        pytest.param("dropped in silence", id="in-silence"),
    ],
)
def test_the_lists_find(text: str) -> None:
    assert QUAINT.search(text) or IS_NO.search(text)


def test_there_is_no_file_is_plain() -> None:
    assert not IS_NO.search("there is no file in it")

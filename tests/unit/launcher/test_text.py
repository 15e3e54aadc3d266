import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_multinode.launcher.text import printable


@given(st.text(st.characters(codec=None)), st.integers(1, 50))
def test_any_text_becomes_one_short_line_that_prints(text: str, limit: int) -> None:
    found = printable(text, limit)
    assert len(found) <= limit
    assert found.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("llm-worker-1", "llm-worker-1", id="as-it-is"),
        pytest.param("a\nb\tc", "a b c", id="white-space"),
        pytest.param("\x1b[31mred", "?[31mred", id="terminal"),
        pytest.param("a\u202eb", "a?b", id="direction"),
        pytest.param("x" * 40, "x" * 19 + "…", id="long"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text, 20) == shown

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.text import shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("two\n  lines", "two lines", id="lines"),
        pytest.param("\x1b[2J\x07", "\\x1b[2J\\x07", id="escapes"),
        pytest.param("späße 日本", "späße 日本", id="letters"),
        pytest.param("‮abc", "\\u202eabc", id="right-to-left"),
    ],
)
def test_text_of_others(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text(max_size=3000))
def test_one_printable_line_of_bounded_length(text: str) -> None:
    line = shown(text, most=100)
    assert line.isprintable()
    assert len(line) < 2000


def test_an_error_with_a_name_of_a_million_characters() -> None:
    error = MultinodeError(ExitCode.SPEC, f"{'a' * 1_000_000} is no name.", where="spec.yaml:1")
    assert len(str(error)) < 3000
    assert "characters left out" in str(error)

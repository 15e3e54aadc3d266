import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.spelling import check_spelling


@pytest.mark.parametrize(
    ("argument", "right"),
    [
        pytest.param("\u2014max-model-len", "Write --max-model-len.", id="em-dash"),
        pytest.param("\u2014max-model-len=5", "Write --max-model-len=5.", id="em-dash-with-value"),
        pytest.param("\u2013-max-model-len", "Write --max-model-len.", id="en-dash-and-hyphen"),
        pytest.param("\u2013tp", "Write -tp.", id="short-name"),
        pytest.param("--max\u2011model\u2011len", "Write --max-model-len.", id="no-break-hyphens"),
        pytest.param("--max-model-len\u200b", "Write --max-model-len.", id="invisible"),
        pytest.param("\u201c--max-model-len\u201d", "Write --max-model-len.", id="typographic-quotes"),
        pytest.param('"--max-model-len"', "Write --max-model-len.", id="quotes"),
        pytest.param("--max-model-len 4096", "Write two arguments: --max-model-len 4096.", id="one-string"),
        pytest.param("--dtype\u00a0half", "Write two arguments: --dtype half.", id="no-break"),
        pytest.param("\u2014dtype half", "Write two arguments: --dtype half.", id="dash-and-one-string"),
        pytest.param("'--dtype half'", "Write two arguments: --dtype half.", id="quotes-and-one-string"),
        pytest.param("--dtype\n", "Write --dtype.", id="line-end"),
        pytest.param("--api-key s3cret", "Write two arguments: --api-key '***'.", id="secret"),
        pytest.param("{\u201ca\u201d: 1}", "Write '{\"a\": 1}'.", id="json"),
        pytest.param("\u201cllm\u201d", "Write llm.", id="value"),
    ],
)
def test_refused_with_the_right_way_to_write_it(argument: str, right: str) -> None:
    with pytest.raises(MultinodeError) as refused:
        check_spelling(["--enforce-eager", argument])
    assert refused.value.code is ExitCode.ARGUMENTS
    assert refused.value.hint == right
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param("--max-model-len", id="option"),
        pytest.param('--hf-overrides={"a": 1}', id="json-with-spaces"),
        pytest.param('{"a": "it\u2019s \u201cquoted\u201d"}', id="typographic-quotes-inside-json"),
        pytest.param("-1", id="negative-number"),
        pytest.param("{% if a %}\u2014\u201ca\u201d{% endif %}", id="template"),
        pytest.param("a name with \u2014", id="name"),
        pytest.param("", id="empty"),
        pytest.param("-", id="hyphen"),
    ],
)
def test_left_alone(argument: str) -> None:
    check_spelling([argument])

"""Why an engine has ended, from what its processes wrote."""

from pathlib import Path

import pytest

from vllm_multinode.launcher.output import last_error, last_words

OUTPUT = Path(__file__).parents[2] / "data" / "engine_output"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param(
            "root-cause",
            "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            id="the-root-cause-not-its-echo",
        ),
        pytest.param("argparse", "error: unrecognized arguments: --no-such-option", id="argparse"),
        pytest.param(
            "model-config",
            "Value error, Total number of attention heads (4) must be divisible by tensor parallel size (3).",
            id="pydantic-says-why-in-the-line-below-in-colour",
        ),
        pytest.param(
            "dead-engine",
            "RuntimeError: Worker failed with error 'Connection closed by peer [10.0.0.2]:41532'",
            id="a-dead-engine",
        ),
    ],
)
def test_vllms_output_is_cut_down_to_the_cause(file: str, expected: str) -> None:
    assert last_error((OUTPUT / f"{file}.txt").read_text().splitlines()) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param(
            "(APIServer pid=11) RuntimeError: Engine core initialization failed. See root cause above.\n",
            "RuntimeError: Engine core initialization failed. See root cause above.",
            id="an-echo-is-better-than-nothing",
        ),
        pytest.param(
            "KeyError: 'first'\nValueError: second\n", "ValueError: second", id="the-last-of-several"
        ),
        pytest.param("(APIServer pid=11) going down\n\n", "going down", id="no-error"),
        pytest.param("", "", id="nothing"),
        pytest.param(
            "ulimit\nThis can cause fd limit errors like `OSError: [Errno 24] Too many open files`. Consider",
            "This can cause fd limit errors like `OSError: [Errno 24] Too many open files`. Consider",
            id="a-warning-that-quotes-an-error",
        ),
    ],
)
def test_the_line_that_says_best_why(output: str, expected: str) -> None:
    assert last_error(output.splitlines()) == expected


OWN = "(Worker_PP1 pid=70) ERROR [worker.py:1] RuntimeError: it is mine"
OTHER = "(EngineCore pid=7) ERROR [core.py:1] KeyError: 'cmpl-98f9'"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        pytest.param([], [OTHER], "", id="another-process-afterwards"),
        pytest.param([OTHER], [], "KeyError: 'cmpl-98f9'", id="another-process-beforehand"),
        pytest.param([], [OWN, OTHER], "RuntimeError: it is mine", id="its-own-afterwards"),
        pytest.param([OWN, OTHER], [OTHER], "RuntimeError: it is mine", id="its-own-and-another"),
        pytest.param([], [OTHER.replace("pid=7", "pid=700")], "", id="a-number-that-begins-alike"),
        pytest.param(["INFO fine"], ["INFO fine"], "", id="no-error"),
    ],
)
def test_what_others_say_after_a_death_is_not_its_cause(
    before: list[str], after: list[str], words: str
) -> None:
    assert last_words(70, before, before + after) == words

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(MultinodeError(ExitCode.SIZES, "too few."), "too few.", id="what"),
        pytest.param(MultinodeError(ExitCode.SIZES, "too few.", where="TP"), "TP: too few.", id="where"),
        pytest.param(MultinodeError(ExitCode.SIZES, "too few.", hint="Add."), "too few. Add.", id="hint"),
        pytest.param(
            MultinodeError(ExitCode.SIZES, "too\n  few.", where="TP", hint="Add\tsome."),
            "TP: too few. Add some.",
            id="always-one-line",
        ),
    ],
)
def test_an_error_is_one_line(error: MultinodeError, line: str) -> None:
    assert str(error) == line


def test_exit_codes_tell_causes_apart() -> None:
    assert len(ExitCode.__members__) == len(set(ExitCode))
    # 126 and up belong to the shell and to signals.
    assert all(0 <= code < 126 for code in set(ExitCode) - {ExitCode.INTERRUPTED})

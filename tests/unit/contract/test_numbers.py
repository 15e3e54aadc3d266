import pytest

from vllm_multinode.contract.numbers import decimal, is_count, whole

ODD = [
    pytest.param("1_0", id="underscore"),
    pytest.param("\uff11\uff10", id="full-width"),
    pytest.param("٣", id="arabic-digit"),
    pytest.param("²", id="superscript"),
    pytest.param("+8", id="plus"),
    pytest.param(" 8", id="space-before"),
    pytest.param("8 ", id="space-behind"),
    pytest.param("8\n", id="line-break"),
    pytest.param("", id="nothing"),
    pytest.param("-", id="sign-alone"),
    pytest.param("nan", id="nan"),
    pytest.param("inf", id="infinite"),
    pytest.param("0x10", id="hexadecimal"),
    pytest.param("9" * 5000, id="too-long"),
]


@pytest.mark.parametrize("text", ODD)
def test_what_is_no_number_for_a_person_is_none(text: str) -> None:
    assert not is_count(text)
    for read in (whole, decimal):
        with pytest.raises(ValueError, match="is not a"):
            read(text)


def test_numbers() -> None:
    assert (whole("0"), whole("007"), whole("-3")) == (0, 7, -3)
    assert (decimal("8"), decimal("0.5"), decimal(".5"), decimal("1e3")) == (8, 0.5, 0.5, 1000)
    assert is_count("10")
    assert not is_count("-1")

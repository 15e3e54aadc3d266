"""Kubernetes quantities; what is expected here is what k8s.io/apimachinery's own code gave."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_multinode.k8s.quantity import canonical, parse


@pytest.mark.parametrize(
    ("written", "back"),
    [
        ("4", "4"),
        (4, "4"),
        ("1000m", "1"),
        ("0.5", "500m"),
        (0.5, "500m"),
        ("1500m", "1500m"),
        ("100000", "100k"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("1000Ki", "1000Ki"),
        ("512", "512"),
        ("1Ki", "1Ki"),
        ("0Gi", "0"),
        ("1e3", "1e3"),
        ("12E", "12E"),
        ("100n", "1m"),
        ("-1", "-1"),
        ("+2", "+2"),
        ("1.500", "1.500"),
        ("1.5000", "1500m"),
        ("007", "007"),
        (".5", "500m"),
    ],
)
def test_the_api_server_writes_back(written: object, back: str) -> None:
    assert canonical(written) == back


def test_other_quantities_than_resources_keep_nine_decimals() -> None:
    assert canonical("100n", places=9) == "100n"
    assert canonical("0.1n", places=9) == "1n"


@pytest.mark.parametrize(
    ("larger", "smaller"), [("1Gi", "1G"), ("2", "1999m"), ("1Mi", "1023Ki"), ("1", "999999999n")]
)
def test_quantities_compare_as_numbers(larger: str, smaller: str) -> None:
    assert parse(larger) > parse(smaller)


@pytest.mark.parametrize(
    "wrong", ["", "x", "1 Gi", "1gi", "1KiB", "--1", "1e", True, None, [], "9" * 200, "1\n"]
)
def test_what_is_no_quantity_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse(wrong)


@given(st.integers(0, 10**12), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e2"]))
def test_the_canonical_form_is_the_same_number(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    assert parse(canonical(text)) == parse(text)


def test_a_number_is_exact() -> None:
    assert parse("0.1") == Decimal("0.1")


@pytest.mark.parametrize(
    "written", [3.2446937080793275e98, "1e99", "9" * 62 + "e9"], ids=["float", "power", "digits"]
)
def test_what_is_written_back_is_a_quantity_too(written: object) -> None:
    assert parse(canonical(written)) == parse(written)

"""Plans held against published start logs of vLLM: how far they may be off, over all cases together."""

import pytest

from unit.sizing.observed import Observed, cases, median, planned, share
from vllm_multinode.contract.errors import MultinodeError

# Cases whose configuration nobody published: what a plan says of them is not compared.
_WITHOUT_CONFIGURATION = frozenset({"configs/Qwen3.8-27B-FP8"})


@pytest.fixture(scope="module")
def observed() -> list[Observed]:
    return [planned(case) for case in cases() if case["model"] not in _WITHOUT_CONFIGURATION]


def off(found: list[Observed], figure: str, more_than: float) -> list[str]:
    """Names of the cases that a figure is further off in."""
    values = ((one, getattr(one, figure)) for one in found)
    return [
        f"{one.name} {value:+.3f}" for one, value in values if value is not None and abs(value) > more_than
    ]


def test_every_case_that_has_a_configuration_is_planned(observed: list[Observed]) -> None:
    assert len(observed) >= 118


def test_weights_are_within_two_percent_in_95_of_100(observed: list[Observed]) -> None:
    known = [one for one in observed if one.weights_error is not None]
    assert len(known) > 100
    wide = off(known, "weights_error", 0.02)
    assert len(wide) <= 0.05 * len(known), wide


def test_memory_for_the_cache(observed: list[Observed]) -> None:
    errors = [one.cache_error for one in observed if one.cache_error is not None]
    assert len(errors) > 100
    assert abs(median(errors)) <= 0.02
    assert median(-error for error in errors if error < 0) <= 0.03
    promised = [one for one in observed if one.cache_error is not None]
    far = [f"{one.name} {one.excess_gib:+.2f}" for one in promised if (one.excess_gib or 0) > 1]
    assert len(far) <= 0.05 * len(promised), far


def test_bytes_of_a_token(observed: list[Observed]) -> None:
    known = [one for one in observed if one.token_error is not None]
    wide = off(known, "token_error", 0.005)
    assert len(wide) <= 0.05 * len(known), wide
    assert share(abs(one.token_error or 0) < 0.001 for one in known) > 0.8


def test_no_plan_says_fits_where_the_engine_did_not_start(observed: list[Observed]) -> None:
    assert [one.name for one in observed if one.started is False and one.choice.verdict == "fits"] == []


def test_hardly_a_plan_says_does_not_fit_where_it_ran(observed: list[Observed]) -> None:
    ran = [one for one in observed if one.started]
    refused = [one.name for one in ran if one.choice.verdict == "does-not-fit"]
    assert len(refused) <= 0.03 * len(ran), refused


def test_the_error_that_is_named_holds_in_nine_of_ten(observed: list[Observed]) -> None:
    known = [one for one in observed if one.excess_gib is not None and one.logged("kv_gib_per_gpu")]
    within = (abs(one.excess_gib or 0) * (1 << 30) <= one.choice.memories[0].error for one in known)
    assert share(within) >= 0.9


def test_a_case_without_its_configuration_is_one_line() -> None:
    case = next(case for case in cases() if case["model"] in _WITHOUT_CONFIGURATION)
    with pytest.raises(MultinodeError) as refusal:
        planned(case)
    assert "no such folder" in refusal.value.what

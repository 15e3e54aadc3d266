import pytest

from vllm_multinode.engines.versions import parse


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        pytest.param("0.10.1.1+rhai3", (0, 10, 1, 1), id="of-a-vendor"),
        pytest.param("0.11.1rc2.dev5+gabc", (0, 11, 1), id="before-a-release"),
        pytest.param("v0.9.1", (0, 9, 1), id="with-a-v"),
        pytest.param("0.1.dev1+g123", None, id="checkout-without-tags"),
        pytest.param("none", None, id="not-installed"),
        pytest.param("0." + "1" * 5000, None, id="too-long-for-a-number"),
    ],
)
def test_the_numbers_of_a_version(version: str, numbers: tuple[int, ...] | None) -> None:
    assert parse(version) == numbers

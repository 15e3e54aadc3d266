import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_multinode.checkpoint.parallel import heads_refusal, kv_heads_refusal, layers_refusal


@given(st.integers(1, 256), st.integers(1, 64))
def test_heads_are_divided_equally(heads: int, tp: int) -> None:
    assert (heads_refusal(heads, tp) is None) == (heads % tp == 0)


@pytest.mark.parametrize(
    ("heads", "tp", "possible"),
    [
        pytest.param(8, 4, True, id="divided"),
        pytest.param(4, 8, True, id="repeated"),
        pytest.param(1, 7, True, id="one-for-all"),
        pytest.param(6, 4, False, id="not-divided"),
        pytest.param(8, 12, False, id="not-repeated"),
    ],
)
def test_kv_heads_are_divided_or_repeated(heads: int, tp: int, possible: bool) -> None:
    assert (kv_heads_refusal(heads, tp) is None) == possible


def test_the_sizes_are_named_as_the_reader_knows_them() -> None:
    refusal = layers_refusal(2, 3)
    assert refusal is not None
    assert refusal.what == "2 hidden layers are fewer than PP 3."
    refusal = layers_refusal(2, 3, "PIPELINE_PARALLEL_SIZE=3")
    assert refusal is not None
    assert refusal.what == "2 hidden layers are fewer than PIPELINE_PARALLEL_SIZE=3."
    assert layers_refusal(3, 3) is None

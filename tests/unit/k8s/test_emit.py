"""YAML as people write it, read back by Kubernetes as what it was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.k8s.parser import parse

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.text("0123456789.eE+-_xoyntruefalsN~: #'\"\n", max_size=8)
)
_TREES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("abyn1.", min_size=1), inner)
)


@given(st.dictionaries(st.text("abc", min_size=1), _TREES, min_size=1))
def test_read_back(tree: dict[str, Any]) -> None:
    (node,) = parse(to_yaml([tree]), "-")
    assert node.data() == tree


@pytest.mark.parametrize(
    ("value", "line"),
    [
        pytest.param("plain text", "a: plain text", id="plain"),
        pytest.param("8080", "a: '8080'", id="number-as-text"),
        pytest.param("y", "a: 'y'", id="yaml-1.1-boolean"),
        pytest.param("1e3", "a: '1e3'", id="float-without-a-point"),
        pytest.param("--a=1", "a: --a=1", id="argument"),
        pytest.param("one\ntwo\n", "a: |\n  one\n  two", id="lines"),
        pytest.param("x" * 300, "a: " + "x" * 300, id="not-folded"),
        pytest.param(True, "a: true", id="boolean"),
        pytest.param({}, "a: {}", id="empty"),
        pytest.param(("b",), "a:\n- b", id="tuple"),
    ],
)
def test_as_people_write_it(value: object, line: str) -> None:
    assert to_yaml([{"a": value}]) == f"{line}\n"


def test_no_anchors_and_keys_in_order() -> None:
    shared = {"z": 1, "a": 2}
    assert to_yaml([{"one": shared, "two": shared}]) == "one:\n  z: 1\n  a: 2\ntwo:\n  z: 1\n  a: 2\n"


def test_several_documents() -> None:
    assert to_yaml([{"a": 1}, {"b": 2}]) == "a: 1\n---\nb: 2\n"

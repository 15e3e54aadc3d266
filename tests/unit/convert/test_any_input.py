"""Whatever stands in a source: no traceback, and one row for each of its values."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unit.convert.test_examples import EXAMPLES, EXPECTED, NAMES, leaves
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.convert import convert
from vllm_multinode.convert.rendering import rendered
from vllm_multinode.convert.report import as_markdown, as_object, spec_yaml
from vllm_multinode.k8s.documents import Document, Reading, from_text
from vllm_multinode.platforms.releases import DEFAULT

BODIES = [
    body
    for name in NAMES
    for path in sorted((EXAMPLES / name).iterdir())
    if path.name != EXPECTED and path.suffix != ".py"
    for body in [list(yaml.safe_load_all(path.read_text()))]
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 1 << 40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["--tensor-parallel-size", "$(A)", "hf://a/b", "-tp 4", "s3://", "{{", "8", "a|b\nc"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text("abc./-", min_size=1, max_size=5), st.integers(), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document, inner ones included."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for step, child in steps for place in [(*path, step), *places(child, (*path, step))]]


def replaced(documents: list[Any], path: tuple[Any, ...], value: Any) -> list[Any]:
    changed = copy.deepcopy(documents)
    *parents, last = path
    place = changed
    for step in parents:
        place = place[step]
    place[last] = value
    return changed


def check(bodies: list[Any]) -> None:
    text = "\n---\n".join(json.dumps(body) for body in bodies)
    try:
        documents = from_text(text, "source.yaml", Reading(untyped=True))
        conversion, _ = rendered(convert(documents), DEFAULT)
    except MultinodeError as error:
        said = error.what
    else:
        said = ""
    assert "\n" not in said
    if said:
        return
    bodies = [document.body for document in documents]
    rows = [row.source_path for row in conversion.rows]
    wanted = [path for body in bodies for path in leaves(body) if path]
    assert [path for path in wanted if wanted.count(path) != rows.count(path)] == []
    json.dumps(as_object(conversion))
    assert as_markdown(conversion).count("\n| `") == len(rows)
    assert all(spec_yaml(service) for service in conversion.services)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(BODIES), st.data(), VALUES)
def test_a_value_of_another_kind(bodies: list[Any], data: st.DataObject, value: Any) -> None:
    # The text that holds a document has its own test.
    path = data.draw(st.sampled_from([place for place in places(bodies) if len(place) > 1]))
    check(replaced(bodies, path, value))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(BODIES), st.data(), st.text("abcXYZ_", min_size=1, max_size=8), VALUES)
def test_a_field_that_nobody_knows(bodies: list[Any], data: st.DataObject, name: str, value: Any) -> None:
    mappings = [(), *(place for place in places(bodies))]
    mappings = [place for place in mappings if isinstance(at(bodies, place), dict)]
    place = data.draw(st.sampled_from(mappings))
    check(replaced(bodies, (*place, name), value))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


@pytest.mark.parametrize(
    "body", [[], [{}], [{"kind": "Pod", "apiVersion": "v1"}]], ids=["nothing", "empty", "pod"]
)
def test_what_is_no_source_is_one_line(body: list[Any], tmp_path: Path) -> None:
    documents = [Document("x.yaml", index, one) for index, one in enumerate(body)]
    with pytest.raises(MultinodeError, match="nothing that can be converted"):
        convert(documents)


@pytest.mark.parametrize("count", [1 << 40], ids=["trillion"])
@pytest.mark.parametrize("name", ["kaito-workspace", "oci-recipe", "ray-service", "leader-worker-set"])
def test_no_count_of_a_source_costs_memory(name: str, count: int) -> None:
    """Each whole number of a source, as a count that no cluster has: a list of that length would end us."""
    sources = [path for path in (EXAMPLES / name).iterdir() if path.name != EXPECTED and path.suffix != ".py"]
    for path in sources:
        bodies = list(yaml.safe_load_all(path.read_text()))
        numbers = [place for place in places(bodies) if type(at(bodies, place)) is int]
        for place in numbers:
            check(replaced(bodies, place, count))

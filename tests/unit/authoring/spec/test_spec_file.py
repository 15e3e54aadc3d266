"""A deployment spec as a file: what is read, and what is said of what cannot be."""

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_multinode.authoring.spec import DeploymentSpec, load, loads
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

_LEAST = "name: a\nmodel: {claim: x}\n"


def refused(text: str) -> MultinodeError:
    with pytest.raises(MultinodeError) as caught:
        loads(text, "spec.yaml")
    return caught.value


def test_least_spec() -> None:
    spec = loads(_LEAST)
    assert (spec.name, spec.model.claim, spec.nodes, spec.per_node) == ("a", "x", 1, 1)


def test_json_and_yaml_are_the_same() -> None:
    body = {"name": "a", "model": {"claim": "x", "servedName": "z"}, "parallelism": {"tensor": 2}}
    assert loads(json.dumps(body)) == loads(
        "name: a\nmodel: {claim: x, servedName: z}\nparallelism: {tensor: 2}"
    )


def test_snake_case_is_read_too() -> None:
    assert loads(f"{_LEAST}shared_memory: 2Gi\n") == loads(f"{_LEAST}sharedMemory: 2Gi\n")
    assert DeploymentSpec.model_validate({"name": "a", "model": {"claim": "x", "served_name": "y"}})


def test_file_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(_LEAST)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(_LEAST.encode())))
    assert load(tmp_path / "a.yaml") == load("-")


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        pytest.param("name: a\nmodell: {claim: x}\n", 2, "modell: is not a field .* mean model?", id="typo"),
        pytest.param(
            "name: a\nmodel:\n  claim: x\n  pth: y\n", 4, "model.pth: .* mean path?", id="nested-typo"
        ),
        pytest.param(f"{_LEAST}tolerations: []\n", 3, "mean placement.tolerations?", id="elsewhere"),
        pytest.param(f"{_LEAST}maxModelLen: 5\n", 3, "mean context?", id="vllms-name"),
        pytest.param(
            f"{_LEAST}tensor_parallel_size: 5\n", 3, "mean parallelism.tensor?", id="snake-elsewhere"
        ),
        pytest.param(f"{_LEAST}zzz: 5\n", 3, "`multinode schema`", id="nothing-like-it"),
        pytest.param("name: a\n", 1, "model: is missing", id="missing"),
        pytest.param("name: 12\nmodel: {claim: x}\n", 1, "name: should be a text; quote it", id="number"),
        pytest.param(f"{_LEAST}replicas: 0\n", 3, "replicas: should be greater than", id="bound"),
        pytest.param(f"{_LEAST}executor: dask\n", 3, "executor: should be 'ray' or 'mp'", id="choice"),
        pytest.param(
            f"{_LEAST}sharedMemory: 12 GB\n", 3, "sharedMemory: '12 GB' is not a quantity", id="quantity"
        ),
        pytest.param(
            f"{_LEAST}apiKeySecret: true\n",
            3,
            "apiKeySecret: should be a mapping, with name in it, or false.$",
            id="neither-form",
        ),
        pytest.param(
            f"{_LEAST}tokenSecret: {{nme: x}}\n",
            3,
            r"tokenSecret.nme: .* mean name\? Also wrong: tokenSecret.name \(line 3\).$",
            id="wrong-in-one-form",
        ),
        pytest.param(f"{_LEAST}context: long\n", 3, "context: 'long' is neither", id="context"),
        pytest.param(f"{_LEAST}arguments: 5\n", 3, "arguments: write a mapping", id="arguments"),
        pytest.param(f"{_LEAST}env: {{A: [1]}}\n", 3, "env.A: ", id="list-as-value"),
        pytest.param(
            f"{_LEAST}placement:\n  tolerations:\n  - key: b\n    operator: exists\n",
            6,
            r"placement.tolerations\[0\].operator: should be 'Exists'",
            id="in-a-list",
        ),
        pytest.param(f"{_LEAST}---\n{_LEAST}", 4, "contains 2 documents", id="two-documents"),
        pytest.param("- a\n", 1, "not a mapping", id="list"),
        pytest.param("apiVersion: v1\nkind: Pod\n", 1, "is a Pod .*`multinode validate`", id="manifest"),
        pytest.param("name: a\nname: b\n", 2, "appears twice", id="twice"),
    ],
)
def test_refusal_names_line_and_field(text: str, where: int, says: str) -> None:
    error = refused(text)
    assert error.where == f"spec.yaml:{where}"
    assert re.search(says, str(error))
    assert error.code in (ExitCode.SPEC, ExitCode.MANIFEST)


def test_all_faults_are_named_in_one_line() -> None:
    text = str(refused("name: A\nmodel: [a]\nreplicas: 0\nexecutor: dask\nimage: ''\nfoo: 1\n"))
    assert "Also wrong: model (line 2), replicas (line 3), executor (line 4), 2 more." in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "source",
    [pytest.param("absent.yaml", id="absent"), pytest.param(".", id="folder"), pytest.param("a\0", id="nul")],
)
def test_unreadable_file(source: str) -> None:
    with pytest.raises(MultinodeError) as caught:
        load(source)
    assert caught.value.code == ExitCode.MANIFEST


_KEYS = st.sampled_from([*DeploymentSpec.model_fields, "claim", "tensor", "perNode", "head", "x", ""])
_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(_KEYS, _TREES, max_size=6))
def test_any_tree_is_a_spec_or_one_line(tree: dict[str, object]) -> None:
    _read_or_refuse(json.dumps(tree))
    _read_or_refuse(json.dumps({"name": "a", "model": {"claim": "x"}} | tree))


@given(st.text(max_size=60) | st.text("nameodl:{}[]- \n\"'&*!?|>%@`#,1", max_size=60))
def test_any_text_is_a_spec_or_one_line(text: str) -> None:
    _read_or_refuse(text)


def _read_or_refuse(text: str) -> None:
    refusal = None
    try:
        loads(text)
    except MultinodeError as error:
        refusal = error
    if refusal is not None:
        assert refusal.code in (ExitCode.SPEC, ExitCode.MANIFEST)
        assert "\n" not in str(refusal)

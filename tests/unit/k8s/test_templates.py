"""OpenShift Templates are read as their objects, with lines of the file; held to `oc process`'s own rules."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests.oc_process import process
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import Document, Reading, from_text
from vllm_multinode.k8s.files import parameters_of, read

TEMPLATE = """apiVersion: template.openshift.io/v1
kind: Template
metadata: {name: t}
labels: {made-by: "${NAME}"}
parameters:
  - {name: NAME, value: llm}
  - {name: SIZE, value: "2"}
  - {name: SECRET, generate: expression, from: "[a-z]{4}-[0-9]{2}"}
  - {name: IMAGE, required: true}
objects:
  - apiVersion: v1
    kind: ConfigMap
    metadata:
      name: ${NAME}-config
      namespace: literal
    data:
      image: "${IMAGE}"
      shell: "${HOME}"
      secret: ${SECRET}
  - apiVersion: v1
    kind: List
    metadata: {}
    items:
      - apiVersion: v1
        kind: Sized
        metadata: {name: "${NAME}", namespace: "${NAME}"}
        size: ${{SIZE}}
"""
GIVEN = {"IMAGE": "example.com/vllm:1"}


def documents(text: str = TEMPLATE, given: dict[str, str] | None = None) -> list[Document]:
    return from_text(text, "t.yaml", Reading(parameters=GIVEN if given is None else given))


def test_defaults_and_given_values_are_filled_in() -> None:
    config, sized = documents()
    assert config.name == "llm-config"
    assert config.body["data"] == {"image": "example.com/vllm:1", "shell": "${HOME}", "secret": "aaaa-00"}
    assert config.body["metadata"]["labels"] == {"made-by": "llm"}
    assert sized.body["size"] == 2
    assert documents(given={**GIVEN, "SIZE": "[1]"})[1].body["size"] == [1]


def test_lines_are_those_of_the_file() -> None:
    config, sized = documents()
    assert config.line(("data", "image")) == 17
    assert config.line(("data", "absent")) == 16
    assert sized.line(("size",)) == 27


def test_literal_namespaces_are_left_out_as_oc_does() -> None:
    config, sized = documents()
    assert config.namespace == ""
    assert sized.namespace == "llm"


def test_same_as_oc_process() -> None:
    template: dict[str, Any] = yaml.safe_load(TEMPLATE)
    del template["parameters"][2]  # what is generated is random there
    given = {**GIVEN, "NAME": "other"}
    expected = process(template, given)
    read_here = documents(yaml.safe_dump(template), given)
    assert [one.body for one in read_here] == [expected[0], *expected[1]["items"]]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param(TEMPLATE, 9, "IMAGE is required", id="required"),
        pytest.param("apiVersion: v1\nkind: Template\n", 1, "no list of objects", id="no-objects"),
        pytest.param("apiVersion: v1\nkind: Template\nobjects: {}\n", 3, "no list", id="objects-no-list"),
        pytest.param(
            "apiVersion: v1\nkind: Template\nparameters: 1\nobjects: []\n", 3, "not a list", id="parameters"
        ),
        pytest.param(
            "apiVersion: v1\nkind: Template\nparameters: [{}]\nobjects: []\n", 3, "no name", id="no-name"
        ),
        pytest.param("apiVersion: v1\nkind: Template\nobjects:\n  - 7\n", 4, "a number", id="no-object"),
    ],
)
def test_what_oc_process_would_refuse(text: str, line: int, words: str) -> None:
    with pytest.raises(MultinodeError, match=words) as raised:
        documents(text, {})
    assert raised.value.where == f"t.yaml:{line}"


def test_a_value_that_could_be_generated_is_no_exact_one() -> None:
    with pytest.raises(MultinodeError, match="SECRET is to be generated") as raised:
        from_text(TEMPLATE, "t.yaml", Reading(parameters=GIVEN, exact=True))
    assert raised.value.where == "t.yaml:8"
    given = Reading(parameters={**GIVEN, "SECRET": "mine"}, exact=True)
    assert from_text(TEMPLATE, "t.yaml", given)[0].body["data"]["secret"] == "mine"


def test_a_parameter_that_no_template_has(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(TEMPLATE)
    with pytest.raises(MultinodeError, match="no Template here has the parameter IMGE") as raised:
        read([str(file)], Reading(parameters={**GIVEN, "IMGE": "x"}))
    assert raised.value.code == ExitCode.USAGE
    assert "IMAGE" in raised.value.hint


@pytest.mark.parametrize("option", ["X", "=1", ""])
def test_param_is_name_and_value(option: str) -> None:
    with pytest.raises(MultinodeError, match="NAME=VALUE"):
        parameters_of([option])
    assert parameters_of(["A=b=c", "B="]) == {"A": "b=c", "B": ""}


def bomb(value: str, place: str) -> str:
    """A Template with one parameter that stands in one place of an object."""
    generated = "[a-z]{999}" * 20_000
    return (
        "apiVersion: template.openshift.io/v1\nkind: Template\nmetadata: {name: t}\nparameters:\n"
        f"  - {{name: A, value: '{value}'}}\n  - {{name: G, generate: expression, from: '{generated}'}}\n"
        f"objects:\n  - {{apiVersion: v1, kind: ConfigMap, metadata: {{name: x}}, data: {{k: '{place}'}}}}\n"
    )


@pytest.mark.parametrize(
    ("value", "place", "words"),
    [
        pytest.param("x" * 100_000, "${A}" * 1000, "becomes longer", id="a-long-value-in-many-places"),
        pytest.param("", "${G}", "becomes longer", id="a-long-generated-value"),
        pytest.param("[" * 100_000, "${{A}}", "nested too deeply", id="json-that-is-deep"),
        pytest.param("[" * 800 + "]" * 800, "${{A}}", "nested too deeply", id="json-that-is-deep-and-ends"),
    ],
)
def test_values_that_would_fill_the_memory_are_refused(value: str, place: str, words: str) -> None:
    with pytest.raises(MultinodeError, match=words) as refused:
        documents(bomb(value, place))
    assert refused.value.code is ExitCode.MANIFEST

"""The rules of `oc process` that our Template stands on."""

from typing import Any

import pytest

from manifests.oc_process import TemplateError, process


def template(value: Any, *parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"it": value}}
    return {"parameters": list(parameters), "objects": [made], **more}


def given(name: str = "X", **more: Any) -> dict[str, Any]:
    return {"name": name, **more}


@pytest.mark.parametrize(
    ("written", "value", "found"),
    [
        pytest.param("${X}", "2", "2", id="text-stays-text"),
        pytest.param("a-${X}-${X}", "2", "a-2-2", id="inside-and-twice"),
        pytest.param("${{X}}", "2", 2, id="number"),
        pytest.param("${{X}}", "true", True, id="boolean"),
        pytest.param("${{X}}", '[{"key":"a"}]', [{"key": "a"}], id="list"),
        pytest.param("${{X}}", "plain", "plain", id="no-json-is-text"),
        pytest.param("a${{X}}", "2", "a${{X}}", id="whole-value-only"),
        pytest.param("${Y}", "2", "${Y}", id="unknown-stays"),
        pytest.param("$(X)", "2", "$(X)", id="kubernetes-own"),
        pytest.param("${X}", "${X}", "${X}", id="not-again"),
    ],
)
def test_substitution(written: str, value: str, found: Any) -> None:
    (made,) = process(template(written, given()), {"X": value})
    assert made["data"]["it"] == found


def test_keys_are_substituted_too() -> None:
    (made,) = process(template({"${X}": "1"}, given()), {"X": "nvidia.com/gpu"})
    assert made["data"]["it"] == {"nvidia.com/gpu": "1"}


def test_a_default_gives_way() -> None:
    parameter = given(value="default")
    assert process(template("${X}", parameter), {})[0]["data"]["it"] == "default"
    assert process(template("${X}", parameter), {"X": "mine"})[0]["data"]["it"] == "mine"


def test_required_unknown_and_generator() -> None:
    with pytest.raises(TemplateError, match="X is required"):
        process(template("${X}", given(required=True)), {})
    with pytest.raises(TemplateError, match="unknown parameter name 'Y'"):
        process(template("${X}", given()), {"Y": "1"})
    with pytest.raises(TemplateError, match="unknown generator"):
        process(template("${X}", given(generate="dice")), {})


def test_generated_values_follow_their_expression() -> None:
    parameter = given(generate="expression", **{"from": "0x[A-F0-9]{4}-[a-z]{3}"})
    made = process(template("${X}", parameter), {})[0]["data"]["it"]
    assert len(made) == len("0xAAAA-aaa")
    assert made.startswith("0x")
    assert set(made[2:6]) <= set("ABCDEF0123456789")
    assert made[7:].islower()
    assert process(template("${X}", parameter), {"X": "given"})[0]["data"]["it"] == "given"


def test_labels_go_to_every_object() -> None:
    (made,) = process(template("1", given(), labels={"app": "${X}"}), {"X": "llm"})
    assert made["metadata"]["labels"] == {"app": "llm"}


@pytest.mark.parametrize(("written", "found"), [("fixed", None), ("${X}", "project")])
def test_a_namespace_that_is_no_parameter_is_stripped(written: str, found: str | None) -> None:
    made = template("1", given())
    made["objects"][0]["metadata"]["namespace"] = written
    assert process(made, {"X": "project"})[0]["metadata"].get("namespace") == found

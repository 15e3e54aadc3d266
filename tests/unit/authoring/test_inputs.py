"""What a file is taken for: objects, a spec, or something that serves models in another way."""

import json
from pathlib import Path

import pytest

from vllm_multinode.authoring.inputs import not_checked, read
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

SPEC = "name: llm\nmodel: {claim: models}\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param(SPEC, "spec", id="spec"),
        pytest.param(json.dumps({"parallelism": {"data": 2}}), "spec", id="spec-as-json"),
        pytest.param(SPEC + "replicaCount: 2\n", "Helm", id="values-like-a-spec"),
        pytest.param("modelArtifacts: {}\ndecode: {}\n", "llm-d", id="llm-d"),
        pytest.param(json.dumps({"recipe_id": "x", "recipe_mode": "service"}), "OCI", id="blueprint"),
        pytest.param("services: {vllm: {image: x}}\n", "Compose", id="compose"),
        pytest.param("apiVersion: kaito.sh/v1beta1\nkind: Workspace\n", "KAITO", id="workspace"),
        pytest.param("apiVersion: nvidia.com/v1alpha1\nkind: DynamoGraphDeployment\n", "Dynamo", id="dynamo"),
        pytest.param(
            "apiVersion: apps/v1\nkind: Deployment\n"
            "spec: {template: {spec: {containers: [{command: [vllm, serve]}]}}}\n",
            "starts vLLM by itself",
            id="deployment",
        ),
    ],
)
def test_what_a_file_is(text: str, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    given = read([str(file)])
    if kind == "spec":
        assert len(given.specs) == 1
        assert given.documents == ()
        return
    error = not_checked(given, [str(file)], ["InferenceService"])
    assert error.code == ExitCode.NOT_CHECKED
    assert kind in f"{error.what} {error.hint}"
    assert error.where == f"{file}:1"


@pytest.mark.parametrize("text", ["a: 1\n", "kind: Pod\n", "- 1\n", "{}\n"])
def test_what_is_nothing_known_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    with pytest.raises(MultinodeError) as raised:
        read([str(file)])
    assert raised.value.code == ExitCode.MANIFEST


def test_plain_kinds_are_named(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    error = not_checked(read([str(file)]), [str(file)], ["InferenceService"])
    assert "only ConfigMap" in error.what

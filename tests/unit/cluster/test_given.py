"""What a user's files are as a deployment: its objects for one release, and its name."""

from pathlib import Path

import pytest

from vllm_multinode.authoring.inputs import read_text
from vllm_multinode.cluster.given import for_release, read
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import Reading

SPEC = """
name: llm
model: {claim: models, path: llm}
parallelism: {tensor: 8, pipeline: 2}
image: quay.io/org/vllm-multinode:1
"""
SERVICE = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: %s}\n"
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: own}
spec: {template: {spec: {containers: [{command: [vllm, serve]}]}}}
"""


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        pytest.param(SPEC, "", "llm", id="spec"),
        pytest.param(SPEC + "replicas: 2\n", "", "llm", id="several-services-of-one-spec"),
        pytest.param(SPEC, "other", "other", id="asked"),
        pytest.param(SERVICE % "a", "", "a", id="service"),
        pytest.param(f"{SERVICE % 'a'}---\n{SPEC}", "", "llm", id="spec-before-service"),
        pytest.param(f"{SERVICE % 'a'}---\n{SERVICE % 'b'}", "", None, id="two-services"),
        pytest.param(DEPLOYMENT, "", None, id="none"),
    ],
)
def test_the_name(text: str, name: str, expected: str | None) -> None:
    files = read_text(text, "file.yaml")
    if expected is not None:
        assert for_release(files, name=name).name == expected
        return
    with pytest.raises(MultinodeError, match="name of the deployment is ambiguous") as raised:
        for_release(files, name=name)
    assert raised.value.code == ExitCode.USAGE


def test_a_spec_is_rendered_for_the_target() -> None:
    files = read_text(SPEC, "file.yaml")
    kserve, groups = for_release(files), for_release(files, target="lws")
    assert kserve.needs_kserve
    assert not groups.needs_kserve
    assert "LeaderWorkerSet" in {one.kind for one in groups.documents}


def test_what_is_no_object_is_not_applied() -> None:
    files = read_text(f"{SERVICE % 'a'}---\nreplicaCount: 2\n", "file.yaml")
    assert [one.kind for one in for_release(files).documents] == ["InferenceService"]
    assert len(list(files.foreign())) == 1


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        pytest.param(DEPLOYMENT, True, id="alone"),
        pytest.param(f"{SERVICE % 'a'}---\n{DEPLOYMENT}", False, id="beside-a-service"),
        pytest.param("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", False, id="no-engine"),
    ],
)
def test_files_that_only_serve_in_another_way_are_refused(text: str, refused: bool, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    if not refused:
        assert read([str(file)], Reading()).documents
        return
    with pytest.raises(MultinodeError, match="starts vLLM by itself") as raised:
        read([str(file)], Reading())
    assert raised.value.code == ExitCode.NOT_CHECKED
    assert raised.value.where == f"{file}:1"

"""`multinode convert` as a user types it."""

import io
import json
import sys
from pathlib import Path

import pytest

from unit.convert.test_examples import EXAMPLES
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode

WORKSPACE = """
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: {name}}}
resource: {{instanceType: Standard_ND96isr_H200_v5, labelSelector: {{}}}}
inference: {{preset: {{name: phi-4}}}}
"""

SERVICE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: x}}
spec:
  predictor:
    model: {{storageUri: "pvc://a/b", args: {arguments}}}
    workerSpec: {{pipelineParallelSize: 2}}
"""


def convert(*arguments: object) -> int:
    return run(["convert", *map(str, arguments)])


def test_a_folder_with_spec_manifests_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert convert(EXAMPLES / "oci-recipe" / "recipe.json", "--out", out) == ExitCode.NOT_CARRIED
    assert {path.name for path in out.iterdir()} == {"deployment.yaml", "manifests", "report.md"}
    assert (
        run(["render", "-f", str(out / "deployment.yaml"), "--out", str(tmp_path / "again")]) == ExitCode.OK
    )
    again = (tmp_path / "again" / "inference-service.yaml").read_text().partition("\n")[2]
    assert (out / "manifests" / "inference-service.yaml").read_text() == again
    capsys.readouterr()


def test_several_services_have_a_folder_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "two.yaml"
    source.write_text("---".join(WORKSPACE.format(name=name) for name in ("a", "b")))
    assert convert(source, "--out", tmp_path / "out") == ExitCode.OK
    assert (tmp_path / "out" / "a" / "deployment.yaml").exists()
    assert (tmp_path / "out" / "b" / "manifests" / "kustomization.yaml").exists()
    capsys.readouterr()


def test_a_second_run_replaces_its_own_folder_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = EXAMPLES / "oci-recipe" / "recipe.json", tmp_path / "out"
    convert(source, "--out", out)
    (out / "stale").write_text("x")
    assert convert(source, "--out", out) == ExitCode.NOT_CARRIED
    assert not (out / "stale").exists()
    (out / "report.md").unlink()
    assert convert(source, "--out", out) == ExitCode.USAGE
    assert "did not write" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_two_services_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "two.yaml"
    source.write_text("---".join(WORKSPACE.format(name=name) for name in ("My_Model", "my-model")))
    assert convert(source, "--out", tmp_path / "out") == ExitCode.SPEC
    assert "would both be my-model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "code", "said"),
    [
        pytest.param("a.yaml", "a: {{ .Values.x }}", ExitCode.MANIFEST, "helm template", id="chart-template"),
        pytest.param("a.json", '{\n// no\n"a": 1}', ExitCode.MANIFEST, "JSON has no comments", id="comment"),
        pytest.param("a.yaml", f"a: {'b' * (9 << 20)}", ExitCode.MANIFEST, "larger than 8 MiB", id="large"),
        pytest.param("a.yaml", "a: 1", ExitCode.MANIFEST, "nothing that can be converted", id="other"),
        pytest.param(
            "a.yaml", WORKSPACE.format(name="x").replace("v1beta1", "v9"), ExitCode.NOT_CONVERTED,
            "kaito.sh/v1beta1", id="unknown-version",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, code: ExitCode, said: str
) -> None:
    source = tmp_path / name
    source.write_text(text)
    assert convert(source, "--out", tmp_path / "out") == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", ["true", "7", "{a: b}"])
def test_arguments_that_are_no_list_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    source = tmp_path / "a.yaml"
    source.write_text(SERVICE.format(arguments=arguments))
    assert convert(source) == ExitCode.NOT_CARRIED
    assert "spec.predictor.model.args" in capsys.readouterr().err


def test_the_report_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(EXAMPLES / "kaito-workspace" / "workspace.yaml", "-o", "json") == ExitCode.NOT_CARRIED
    report = json.loads(capsys.readouterr().out)
    assert {"source_path", "status", "target_path", "why"} < report["fields"][0].keys()
    statuses = {row["source_path"]: row["status"] for row in report["fields"]}
    assert statuses["resource.count"] == "changed"
    assert statuses["inference.adapters[0].strength"] == "not_carried"


def test_a_template_on_standard_input_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"model: {{ .Values.model }}")))
    assert convert("-") == ExitCode.MANIFEST
    assert "helm template CHART" in capsys.readouterr().err

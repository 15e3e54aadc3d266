"""`--fix`: fixes without a guess, keeps comments and layout, and a second run changes nothing."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from unit.authoring.rules.examples import Example, examples
from vllm_multinode.authoring.rules import Finding, validate
from vllm_multinode.authoring.rules.edits import Text, splice
from vllm_multinode.authoring.rules.fix import apply_fixes
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.finding import Edit
from vllm_multinode.k8s.documents import Document, from_text
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.k8s.files import read
from vllm_multinode.platforms.releases import find

RELEASES = (find("0.18.1"), find("0.19.0"))
TEXT = """# first
apiVersion: serving.kserve.io/v1beta1   # the group
kind: InferenceService
metadata:
  name: llm
  annotations:
    # why not
    serving.kserve.io/autoscalerClass: hpa  # not allowed
    owner: 0777

spec:
  predictor:   # the head
    model:
      modelFormat: {name: vLLM}
      runtime: rt
      storageUri: pvc://models/llama
      resources:
        limits: {nvidia.com/gpu: 2}  # two
    # the workers
    workerSpec:
      tensorparallelsize: 2
---
# second
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
"""
MENDED = """# first
apiVersion: serving.kserve.io/v1beta1   # the group
kind: InferenceService
metadata:
  name: llm
  annotations:
    # why not
    serving.kserve.io/autoscalerClass: none  # not allowed
    owner: "0777"
    serving.kserve.io/deploymentMode: RawDeployment

spec:
  predictor:   # the head
    enableServiceLinks: false
    model:
      modelFormat: {name: vLLM}
      runtime: rt
      storageUri: pvc://models/llama
      resources:
        requests:
          nvidia.com/gpu: 2
        limits: {nvidia.com/gpu: 2}  # two
    # the workers
    workerSpec:
      tensorParallelSize: 2
      enableServiceLinks: false
---
# second
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
"""


def _check(documents: Sequence[Document]) -> list[Finding]:
    return validate(documents, RELEASES)


def _hint(file: Path) -> list[str]:
    return [one.rule for fixed in apply_fixes(read([str(file)]), _check, RELEASES) for one in fixed.findings]


def test_comments_and_layout_stay(tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(TEXT)
    file.chmod(0o640)
    assert set(_hint(file)) == {
        "unknown-field",
        "metadata-not-text",
        "autoscaler-class",
        "deployment-mode-missing",
        "gpu-limits-only",
        "service-links",
    }
    assert file.read_text() == MENDED
    assert file.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["service.yaml"]


@pytest.mark.parametrize("break_", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_second_run_changes_nothing(tmp_path: Path, break_: str) -> None:
    file = tmp_path / "service.yaml"
    file.write_bytes(TEXT.replace("\n", break_).encode("utf-8-sig"))
    assert _hint(file)
    once = file.read_bytes()
    assert _hint(file) == []
    assert file.read_bytes() == once == MENDED.replace("\n", break_).encode("utf-8-sig")


def test_json_stays_json(tmp_path: Path) -> None:
    import json

    file = tmp_path / "service.json"
    file.write_text(json.dumps(from_text(TEXT, "f")[0].body, indent=2))
    assert _hint(file)
    assert json.loads(file.read_text()) == from_text(MENDED, "f")[0].body | {
        "metadata": from_text(MENDED, "f")[0].body["metadata"]
        | {
            "annotations": {
                "serving.kserve.io/autoscalerClass": "none",
                "owner": "511",
                "serving.kserve.io/deploymentMode": "RawDeployment",
            }
        }
    }


@pytest.mark.parametrize("example", [pytest.param(one, id=one.rule) for one in examples()])
def test_every_fix_leaves_its_finding_behind(example: Example, tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(to_yaml(example.bad))
    releases = (find(example.version),)

    def check(documents: Sequence[Document]) -> list[Finding]:
        return validate(documents, releases)

    before = check(read([str(file)]))
    for fixed in apply_fixes(read([str(file)]), check, releases):
        assert fixed.findings
    after = check(read([str(file)]))
    blocked = {one.rule for one in before if one.blocks}
    assert {one.rule for one in after if one.blocks} <= blocked
    assert apply_fixes(read([str(file)]), check, releases) == []


def test_what_holds_for_some_versions_only_is_left(tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(TEXT)
    releases = (find("0.15.0"), find("0.19.0"))
    apply_fixes(read([str(file)]), lambda documents: validate(documents, releases), releases)
    assert "autoscalerClass: hpa" in file.read_text()


def test_what_an_alias_shares_is_left() -> None:
    text = "a: &a {x: 1}\nb: *a\nc: {<<: *a}\n"
    (root,) = (one.root for one in from_text(f"apiVersion: v1\nkind: X\n{text}", "f"))
    assert root is not None
    whole = Text(f"apiVersion: v1\nkind: X\n{text}")
    for name in "abc":
        assert splice(whole, root, Edit((name, "x"), 2)) is None


def test_link_stays_a_link(tmp_path: Path) -> None:
    file, link = tmp_path / "service.yaml", tmp_path / "link.yaml"
    file.write_text(TEXT)
    link.symlink_to(file)
    assert _hint(link)
    assert link.is_symlink()
    assert file.read_text() == MENDED


def test_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(TEXT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MultinodeError, match="No space left"):
        _hint(file)
    assert file.read_text() == TEXT
    assert [one.name for one in tmp_path.iterdir()] == ["service.yaml"]


def test_standard_input_has_no_file() -> None:
    documents = from_text(TEXT, "-")
    with pytest.raises(MultinodeError, match="--fix has no file"):
        apply_fixes(documents, _check, RELEASES)

"""`multinode validate`, as a user types it."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unit.authoring.rules.examples import base
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.platforms.releases import MULTI_NODE, MULTI_NODE_KSERVE

KEYS = ["rule", "severity", "releases", "file", "kind", "name", "path", "line", "message", "hint"]
NEVER_IMPORTED = ("kserve", "kubernetes", "ray", "vllm", "aiohttp", "torch", "rich", "ruamel")


def guarded() -> list[dict[str, Any]]:
    return [base()[name] for name in ("runtime", "service", "policy", "budget")]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.yaml"
    file.write_text(to_yaml(guarded()))
    return file


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    file = tmp_path / "bad.yaml"
    file.write_text(to_yaml(guarded()).replace("class: none", "class: hpa")
                    .replace("autoscalerClass: none", "autoscalerClass: hpa"))  # fmt: skip
    return file


def test_nothing_found(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "-f", str(good), "--kserve", "v0.19.0"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert out == ""
    note, counted = err.splitlines()
    assert note.endswith("of the claim models, which is not among these files: fill it first.")
    assert counted == "nothing found (2 objects, KServe 0.19.0)"


def test_text_names_place_rule_and_hint(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "-f", str(bad), "--kserve", "0.19.0"]) == ExitCode.WILL_NOT_SERVE
    (line,) = capsys.readouterr().out.splitlines()
    number = next(n for n, text in enumerate(bad.read_text().splitlines(), 1) if "autoscalerClass" in text)
    assert line.startswith(f"{bad}:{number}: refused autoscaler-class: KServe rejects it: ")
    assert line.endswith("Set the annotation serving.kserve.io/autoscalerClass to none.")


def test_over_several_releases_it_says_where_they_differ(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = [word for one in MULTI_NODE_KSERVE for word in ("--kserve", one.number)]
    assert run(["validate", "-f", str(good), *versions]) == ExitCode.WILL_NOT_SERVE
    out, err = capsys.readouterr()
    assert "workers-recreated" in out
    assert "(KServe 0.20.0)" in out
    assert "(KServe 0.15.0)" in out
    assert "nothing is rejected or stalls with KServe 0.15.1, 0.15.2, 0.17.1 to 0.19.0" in err


def test_json_has_exactly_these_keys(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "-f", str(bad), "--platform", "all", "-o", "json"]) == ExitCode.WILL_NOT_SERVE
    found = json.loads(capsys.readouterr().out)
    assert {tuple(one) for one in found} == {tuple(KEYS)}
    (refused,) = (
        one for one in found if one["rule"] == "autoscaler-class" and "kserve-0.19.0" in one["releases"]
    )
    assert refused["path"] == "metadata.annotations['serving.kserve.io/autoscalerClass']"
    assert refused["releases"] == [one.name for one in MULTI_NODE if one.autoscaler_class == "none"]


def test_json_of_nothing(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", str(good), "--kserve", "0.19.0", "-o", "json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == []


def test_fix_and_again(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "-f", str(bad), "--kserve", "0.19.0", "--fix"]) == ExitCode.OK
    assert "fixed: " in capsys.readouterr().err
    fixed = bad.read_bytes()
    assert run(["validate", "-f", str(bad), "--kserve", "0.19.0", "--fix"]) == ExitCode.OK
    assert "fixed: " not in capsys.readouterr().err
    assert bad.read_bytes() == fixed


def test_standard_input(
    bad: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdin:
        buffer = io.BytesIO(bad.read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert run(["validate", "-f", "-", "--kserve", "0.19.0"]) == ExitCode.WILL_NOT_SERVE
    assert capsys.readouterr().out.startswith("-:")


def test_runtime_that_was_not_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(to_yaml([base()["service"]]))
    assert run(["validate", "-f", str(file), "--kserve", "0.19.0"]) == ExitCode.OK
    assert "risk runtime-unknown: The ServingRuntime rt is neither among the files" in capsys.readouterr().out


def test_our_own_runtime_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "service.yaml"
    service = json.loads(json.dumps(base()["service"]))
    service["spec"]["predictor"]["model"]["runtime"] = "vllm-multinode-ray"
    service["spec"]["predictor"]["workerSpec"]["tensorParallelSize"] = 4
    service["spec"]["predictor"]["workerSpec"]["pipelineParallelSize"] = 1
    file.write_text(to_yaml([service]))
    assert run(["validate", "-f", str(file), "--kserve", "0.19.0"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert "tensor-across-nodes" in out
    assert "not given" not in err
    assert "1 object," in err


def test_model(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["validate", str(good), "--kserve", "0.19.0", "--model", "meta-llama/Llama-3.1-8B-Instruct"]) == 0
    )
    assert run(["validate", str(good), "--model", str(tmp_path / "absent")]) == ExitCode.MODEL_MISSING
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{")
    assert run(["validate", str(good), "--model", str(tmp_path / "model")]) == ExitCode.MODEL_CONFIG
    assert capsys.readouterr().err.count("multinode: ") == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param([], ExitCode.USAGE, id="no-file"),
        pytest.param(["-f", "absent.yaml"], ExitCode.MANIFEST, id="absent"),
        pytest.param(["-f", "good.yaml", "--kserve", "9"], ExitCode.USAGE, id="no-version"),
        pytest.param(["-f", "good.yaml", "--kserve", "0.13.0"], ExitCode.USAGE, id="old-version"),
        pytest.param(["-f", "good.yaml", "-o", "xml"], ExitCode.USAGE, id="no-output"),
        pytest.param(["-f", "good.yaml", "--fxi"], ExitCode.USAGE, id="no-option"),
    ],
)
def test_wrong_command_line_is_one_line(
    arguments: list[str],
    code: ExitCode,
    good: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(good.parent)
    assert run(["validate", *arguments]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_other_kinds_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    assert run(["validate", "-f", str(file)]) == ExitCode.NOT_CHECKED
    assert "contains none of InferenceService" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds it")
def test_kustomization(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bad.parent / "kustomization.yaml").write_text("resources: [bad.yaml]\nnamespace: team\n")
    before = bad.read_bytes()
    arguments = ["validate", "-f", str(bad.parent), "--kserve", "0.19.0", "--fix"]
    assert run(arguments) == ExitCode.WILL_NOT_SERVE
    out, err = capsys.readouterr()
    assert out.startswith(f"{bad}:")
    assert "is built by kustomize; --fix leaves its files alone" in err
    assert bad.read_bytes() == before


def test_imports_nothing_heavy(good: Path) -> None:
    code = (
        "import sys; from vllm_multinode.cli.app import run; "
        f"run(['validate', '-f', {str(good)!r}, '--kserve', '0.19.0']); "
        f"print(sorted(set({NEVER_IMPORTED!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_of_a_million_characters_is_not_printed_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "service.yaml"
    body = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "a" * 1_000_000},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "vLLM"}}, "workerSpec": {}}},
    }
    path.write_text(to_yaml([body]))
    assert run(["validate", "-f", str(path)]) == ExitCode.WILL_NOT_SERVE
    told = capsys.readouterr()
    assert "characters left out" in told.out
    assert len(told.out) + len(told.err) < 50_000

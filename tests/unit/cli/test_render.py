"""`multinode render` and `multinode schema` as a user runs them."""

import io
import json
import sys
from pathlib import Path

import pytest

from vllm_multinode.authoring.spec import loads
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode

_SPEC = "name: a\nmodel: {claim: x}\nparallelism: {tensor: 4, pipeline: 2}\n"


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "spec.yaml"
    path.write_text(_SPEC)
    return str(path)


def test_stream(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "-f", spec]) == ExitCode.OK
    printed = capsys.readouterr()
    assert printed.out.startswith("apiVersion: serving.kserve.io/v1alpha1\nkind: ServingRuntime\n")
    assert printed.out.count("\n---\n") == 9
    assert "Kustomization" not in printed.out
    assert printed.err == ""


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(_SPEC.encode())))
    assert run(["render", "-f", "-", "--target", "lws"]) == ExitCode.OK
    assert "kind: LeaderWorkerSet" in capsys.readouterr().out


def test_folder_twice(spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert run(["render", "-f", spec, "--out", str(out)]) == ExitCode.OK
    assert {path.name for path in out.iterdir()} == {
        "deployment.spec",
        "serving-runtime.yaml",
        "inference-service.yaml",
        "launcher.yaml",
        "network-policy.yaml",
        "disruption-budget.yaml",
        "secrets.yaml",
        "kustomization.yaml",
    }
    printed = capsys.readouterr()
    assert printed.out == ""
    assert str(out / "kustomization.yaml") in printed.err


def test_notes_go_to_standard_error(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "-f", spec, "--kserve", "0.20.0"]) == ExitCode.OK
    printed = capsys.readouterr()
    assert printed.err.startswith("note: KServe 0.20.0 removes the workers")
    assert "note" not in printed.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param([], ExitCode.USAGE, id="no-file"),
        pytest.param(["-f", "absent"], ExitCode.MANIFEST, id="absent-file"),
        pytest.param(["-f", "{spec}", "--kserve", "1"], ExitCode.USAGE, id="no-version"),
        pytest.param(["-f", "{spec}", "--target", "helm"], ExitCode.USAGE, id="no-target"),
        pytest.param(["-f", "{spec}", "--out", "{spec}"], ExitCode.USAGE, id="out-is-a-file"),
        pytest.param(["-f", "{spec}", "--out", ""], ExitCode.USAGE, id="out-is-empty"),
    ],
)
def test_mistake_is_one_line(
    spec: str, arguments: list[str], code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["render", *(one.format(spec=spec) for one in arguments)]) == code
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_schema_knows_every_field_and_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == ExitCode.OK
    schema = json.loads(capsys.readouterr().out)
    assert schema["required"] == ["name", "model"]
    assert schema["additionalProperties"] is False
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False
        for name, field in part["properties"].items():
            # A part's own description is not repeated where the field's is the same.
            meant = schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
            assert meant.get("description"), f"{part['title']}.{name}"
            assert "_" not in name
    assert loads(_SPEC)


@pytest.mark.parametrize("command", ["render", "schema"])
def test_what_is_imported(command: str, spec: str) -> None:
    import subprocess

    heavy = ["torch", "vllm", "ray", "numpy", "kubernetes", "kserve", "aiohttp", "rich"]
    arguments = ["multinode", command, *(["-f", spec] if command == "render" else [])]
    program = (
        f"import sys, atexit; sys.argv = {arguments!r}\n"
        f"loaded = lambda: sorted({{*{heavy!r}}} & set(sys.modules))\n"
        "atexit.register(lambda: print('LOADED', loaded(), file=sys.stderr))\n"
        "from vllm_multinode.cli.main import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1] == "LOADED []"

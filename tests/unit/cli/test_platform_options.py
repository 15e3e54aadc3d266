"""The release as it is named on the command line: the same words and the same default everywhere."""

from pathlib import Path

import pytest
import yaml

from kserve_inputs import runtime, service
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import DEFAULT

SPEC = {
    "name": "llm",
    "model": {"claim": "models", "path": "llm"},
    "parallelism": {"tensor": 8, "pipeline": 2},
    "image": "example.com/vllm-multinode:1",
}
COMMANDS = [
    pytest.param(["render", "-f", "spec.yaml"], id="render"),
    pytest.param(["validate", "-f", "service.yaml"], id="validate"),
    pytest.param(["preview", "-f", "service.yaml"], id="preview"),
    pytest.param(["deploy", "-f", "spec.yaml", "--no-wait"], id="deploy"),
    pytest.param(["local", "run", "--model", "absent"], id="local-run"),
    pytest.param(["plan", "llama-3.3-70b-instruct", "--gpu", "H100-SXM", "-o", "spec"], id="plan"),
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MULTINODE_PLATFORM", raising=False)
    Path("spec.yaml").write_text(yaml.safe_dump(SPEC))
    Path("service.yaml").write_text(yaml.safe_dump_all([runtime(), service()]))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(
            ["--kserve", "2.25"], "--kserve: there is no KServe 2.25.0", id="openshift-ai-for-kserve"
        ),
        pytest.param(["--kserve", "99.1"], "newer than any", id="far-too-new"),
        pytest.param(["--platform", "latest"], "--platform: 'latest' names no release", id="a-word"),
    ],
)
def test_a_wrong_name_is_one_line_in_every_command(
    command: list[str], options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, *options]) == ExitCode.USAGE
    (told,) = capsys.readouterr().err.splitlines()
    assert words in told


@pytest.mark.parametrize("command", COMMANDS[:3])
def test_a_release_that_is_not_known_is_said_in_every_command(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run([*command, "--kserve", "0.21.0"])
    told = [line for line in capsys.readouterr().err.splitlines() if "is unknown; the behaviour" in line]
    assert told == [
        "note: KServe 0.21.0 is unknown; the behaviour of 0.20.0 is assumed. kserve#6113 is not assumed."
    ]


@pytest.mark.parametrize(
    ("named", "autoscaler"),
    [
        pytest.param("openshift-ai-2.22", "external", id="2.22"),
        pytest.param("rhoai-2.23", "none", id="2.23"),
        pytest.param("kserve-0.15.0", "external", id="kserve"),
    ],
)
def test_the_variable_names_the_release_for_a_shell(
    named: str, autoscaler: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MULTINODE_PLATFORM", named)
    assert run(["render", "-f", "spec.yaml"]) == ExitCode.OK
    assert f"autoscalerClass: {autoscaler}" in capsys.readouterr().out
    assert run(["render", "-f", "spec.yaml", "--kserve", DEFAULT.number]) == ExitCode.OK
    assert f"autoscalerClass: {DEFAULT.autoscaler_class}" in capsys.readouterr().out


def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MULTINODE_PLATFORM", "openshift")
    assert run(["render", "-f", "spec.yaml"]) == ExitCode.USAGE
    assert "MULTINODE_PLATFORM: 'openshift' names no release" in capsys.readouterr().err


def test_a_release_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["render", "-f", "spec.yaml", "--platform", "rhoai-2.25", "--kserve", "0.19.0"]) == ExitCode.USAGE
    )
    assert "both give the release" in capsys.readouterr().err


def test_what_is_rendered_by_default_passes_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "-f", "spec.yaml", "--out", "out"]) == ExitCode.OK
    assert run(["validate", "-f", "out"]) == ExitCode.OK
    assert run(["preview", "-f", "out"]) == ExitCode.OK
    told = capsys.readouterr()
    assert DEFAULT.label in told.err
    assert DEFAULT.label in told.out.splitlines()


def test_every_release_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "-f", "service.yaml", "--platform", "all"]) == ExitCode.WILL_NOT_SERVE
    told = capsys.readouterr()
    assert "KServe 0.15.0 to 0.20.0; OpenShift AI 2.16 to 3.6" in told.err
    assert "OpenShift AI 2.16 to 2.22" in told.out


def test_a_plan_says_what_its_release_would_not_make(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "llama-3.1-8b-instruct", "--gpu", "H100-SXM", "-o", "spec"]
    assert run([*command, "--platform", "rhoai-2.22"]) == ExitCode.OK
    assert "OpenShift AI 2.22 does not support it: parallelism.pipeline" in capsys.readouterr().err
    assert run(command) == ExitCode.OK
    assert "does not support it" not in capsys.readouterr().err

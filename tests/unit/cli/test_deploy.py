"""`multinode deploy`, `wait` and `delete` as command lines, against a stand-in for the Kubernetes API."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from unit.cluster.kubeconfigs import TOKEN, write_kubeconfig
from unit.cluster.objects import controller, head_says, running, runtime, service, with_status
from unit.cluster.stub_api import StubApi, serving, status
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode

SPEC = {
    "name": "llm",
    "model": {"claim": "models", "path": "llm", "size": "131Gi"},
    "parallelism": {"tensor": 8, "pipeline": 2},
    "image": "example.com/vllm-multinode:1",
}

TEMPLATE = """apiVersion: template.openshift.io/v1
kind: Template
parameters:
  - {name: SIZE, required: true}
  - {name: TOKEN, generate: expression, from: "[a-z]{8}"}
objects:
  - apiVersion: leaderworkerset.x-k8s.io/v1
    kind: LeaderWorkerSet
    metadata: {name: llm}
    spec:
      leaderWorkerTemplate:
        size: ${{SIZE}}
        workerTemplate: {spec: {containers: [{name: vllm, image: quay.io/org/vllm:1}]}}
  - apiVersion: v1
    kind: Secret
    metadata: {name: token}
    stringData: {token: "${TOKEN}"}
"""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubApi]:
    """The stand-in, a kubeconfig for it, and a spec in the working directory."""
    with serving() as api:
        api.namespace("demo")
        path = write_kubeconfig(tmp_path / "kubeconfig", api.url)
        monkeypatch.setenv("KUBECONFIG", str(path))
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC))
        monkeypatch.chdir(tmp_path)
        yield api


def test_deploy_again_and_delete(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["deploy", "-f", "spec.yaml", "--kserve", "0.18.1", "--no-wait"]
    assert run(command) == ExitCode.OK
    first = capsys.readouterr().out
    kinds = [line.split()[0] for line in first.splitlines() if line.endswith(" created")]
    assert kinds[0] == "Secret"
    assert kinds.index("ServingRuntime") < kinds.index("InferenceService")
    assert run(command) == ExitCode.OK
    again = capsys.readouterr().out
    assert "InferenceService demo/llm unchanged" in again
    assert "created" not in again
    assert run(["delete", "llm"]) == ExitCode.OK
    assert "InferenceService demo/llm deleted" in capsys.readouterr().out
    assert run(["delete", "-f", "spec.yaml"]) == ExitCode.OK
    assert capsys.readouterr().out == "llm has nothing to delete in namespace demo.\n"
    assert set(api.objects) == {("namespaces", "", "demo")}


def test_a_set_is_deployed_and_deleted_by_its_spec(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["deploy", "spec.yaml", "--target", "lws", "--no-wait"]) == ExitCode.OK
    assert "LeaderWorkerSet demo/llm created" in capsys.readouterr().out
    assert run(["delete", "-f", "spec.yaml"]) == ExitCode.OK
    assert "LeaderWorkerSet demo/llm deleted" in capsys.readouterr().out


def test_a_template_is_deployed_and_deleted_with_its_parameters(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("template.yaml").write_text(TEMPLATE)
    given = ["-f", "template.yaml", "--param", "SIZE=3", "--param", "TOKEN=secret"]
    assert run(["deploy", *given, "--no-wait", "--force"]) == ExitCode.OK
    group, secret = api.get("leaderworkersets", "llm"), api.get("secrets", "token")
    assert group is not None
    assert group["spec"]["leaderWorkerTemplate"]["size"] == 3
    assert secret is not None
    assert secret["stringData"] == {"token": "secret"}
    capsys.readouterr()
    assert run(["delete", *given]) == ExitCode.OK
    assert "LeaderWorkerSet demo/llm deleted" in capsys.readouterr().out


def test_a_spec_comes_from_standard_input(
    api: StubApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is rendered for the cluster's release after it was read, and standard input is read once."""
    stream = io.TextIOWrapper(io.BytesIO(Path("spec.yaml").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    assert run(["deploy", "-f", "-", "--target", "lws", "--no-wait"]) == ExitCode.OK
    assert "LeaderWorkerSet demo/llm created" in capsys.readouterr().out


def test_other_ways_to_serve_get_the_sentence_that_validate_gives(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": "a"},
    }
    Path("other.yaml").write_text(yaml.safe_dump(body))
    assert run(["validate", "other.yaml"]) == ExitCode.NOT_CHECKED
    told = capsys.readouterr().err
    assert "LLMInferenceService is KServe's other kind" in told
    assert run(["deploy", "other.yaml"]) == ExitCode.NOT_CHECKED
    assert capsys.readouterr().err == told
    assert api.written() == []


def test_values_beside_a_service_are_noted_and_not_applied(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("values.yaml").write_text("replicaCount: 2\nimage: {tag: v1}\n")
    assert run(["deploy", "spec.yaml", "values.yaml", "--target", "lws", "--no-wait"]) == ExitCode.OK
    printed = capsys.readouterr()
    assert "note: values.yaml:1: looks like a Helm chart's values" in printed.err
    assert "LeaderWorkerSet demo/llm created" in printed.out


def test_what_will_not_serve_is_not_written(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    body = service(storageUri="s3://bucket/llm")
    annotations = {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": "none",
    }
    body["metadata"]["annotations"] = annotations
    Path("bad.yaml").write_text(yaml.safe_dump(body))
    assert run(["deploy", "-f", "bad.yaml", "--kserve", "0.18.1", "--no-wait"]) == ExitCode.WILL_NOT_SERVE
    told = capsys.readouterr().err
    assert "bad.yaml:" in told
    assert "Nothing was written" in told
    assert api.written() == []
    command = ["deploy", "-f", "bad.yaml", "--kserve", "0.18.1", "--no-wait", "--force"]
    assert run(command) == ExitCode.OK
    assert api.get("inferenceservices", "llm") is not None


def test_the_cluster_says_its_version(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["deploy", "spec.yaml", "--no-wait"]) == ExitCode.USAGE
    assert "Give it with --platform" in capsys.readouterr().err
    api.put(controller())
    assert run(["deploy", "spec.yaml", "--no-wait"]) == ExitCode.OK
    assert (
        "The cluster runs KServe 0.19.0 (0.19.0, says the Deployment kserve-controller-manager"
        in capsys.readouterr().out
    )


def test_deploy_waits_and_wait_asks(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.put(with_status(service(), ready="True", url="http://llm.example.com"))
    api.put(running())
    api.heads["llm-predictor-0:8081"] = head_says()
    api.heads["llm-predictor-0:8080"] = lambda path: (
        {"data": [{"id": "llm"}]} if path.endswith("models") else {"choices": [{"text": " four"}]}
    )
    assert run(["wait", "llm", "--timeout", "20", "--ask", "One two three"]) == ExitCode.OK
    told = capsys.readouterr().out
    assert "InferenceService demo/llm serves at http://llm.example.com" in told
    assert told.endswith("One two three four\n")


def test_a_namespace_in_the_object_holds(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.namespace("prod")
    Path("spec.yaml").write_text(yaml.safe_dump({**SPEC, "namespace": "prod"}))
    command = ["deploy", "spec.yaml", "--kserve", "0.18.1", "--no-wait"]
    assert run(command) == ExitCode.OK
    made = api.get("inferenceservices", "llm", "prod")
    assert made is not None
    assert made["metadata"]["annotations"]["vllm-multinode/deployments"] == "prod/llm"
    assert run([*command, "-n", "demo"]) == ExitCode.USAGE
    assert "an object is in namespace prod" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["deploy"], ExitCode.USAGE, "no file is given", id="no-file"),
        pytest.param(["deploy", "-f", "none.yaml"], ExitCode.MANIFEST, "none.yaml", id="missing-file"),
        pytest.param(["deploy", "-f", "empty.yaml"], ExitCode.MANIFEST, "empty.yaml", id="empty-file"),
        pytest.param(["deploy", "-f", "typo.yaml"], ExitCode.SPEC, "typo.yaml", id="unknown-field"),
        pytest.param(["deploy", "-f", "claim.yaml"], ExitCode.USAGE, "--name", id="no-service"),
        pytest.param(["deploy", "template.yaml"], ExitCode.MANIFEST, "--param SIZE=VALUE", id="required"),
        pytest.param(
            ["deploy", "template.yaml", "--param", "SIZE=2"],
            ExitCode.MANIFEST,
            "template.yaml:5: the Template's parameter TOKEN is to be generated",
            id="generated",
        ),
        pytest.param(
            ["deploy", "template.yaml", "--param", "SIZ=2"], ExitCode.MANIFEST, "SIZE", id="other-parameter"
        ),
        pytest.param(
            ["deploy", "spec.yaml", "--param", "A=1"], ExitCode.USAGE, "parameter A", id="no-template"
        ),
        pytest.param(["deploy", "spec.yaml", "--param", "A"], ExitCode.USAGE, "NAME=VALUE", id="param"),
        pytest.param(["deploy", "remote"], ExitCode.KUSTOMIZE, "--remote", id="remote"),
        pytest.param(["delete", "-f", "remote"], ExitCode.KUSTOMIZE, "--remote", id="delete-remote"),
        pytest.param(["delete", "llm", "--param", "A=1"], ExitCode.USAGE, "need files", id="delete-param"),
        pytest.param(["deploy", "values.yaml"], ExitCode.NOT_CHECKED, "Helm chart's values", id="values"),
        pytest.param(
            ["deploy", "values.yaml", "--name", "x"], ExitCode.NOT_CHECKED, "Helm", id="values-with-a-name"
        ),
        pytest.param(["delete", "-f", "values.yaml"], ExitCode.NOT_CHECKED, "Helm", id="delete-values"),
        pytest.param(["delete"], ExitCode.USAGE, "give either", id="delete-nothing"),
        pytest.param(["delete", "llm", "-f", "spec.yaml"], ExitCode.USAGE, "give either", id="delete-both"),
        pytest.param(["wait", "none"], ExitCode.NOT_SERVING, "there is no", id="wait-for-nothing"),
        pytest.param(
            ["wait", "llm", "--context", "y"], ExitCode.CLUSTER_UNREACHABLE, "context 'y'", id="context"
        ),
        pytest.param(["wait", "llm", "--login", "ssh"], ExitCode.USAGE, "ssh", id="unknown-login"),
    ],
)
def test_mistakes_are_one_line(
    api: StubApi, capsys: pytest.CaptureFixture[str], arguments: list[str], code: ExitCode, words: str
) -> None:
    Path("empty.yaml").write_text("")
    Path("typo.yaml").write_text(yaml.safe_dump({**SPEC, "paralelism": 2}))
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}}
    Path("claim.yaml").write_text(yaml.safe_dump(claim))
    Path("template.yaml").write_text(TEMPLATE)
    Path("values.yaml").write_text("replicaCount: 2\nimage: {tag: v1}\n")
    Path("remote").mkdir()
    Path("remote/kustomization.yaml").write_text("resources: ['https://example.com/a?ref=v1']\n")
    assert run(arguments) == code
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert api.written() == []


def test_the_token_is_nowhere(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.refuse("GET", "/apis/serving", 401, status(401, f"bad token {TOKEN}", "Unauthorized"))
    assert run(["wait", "llm"]) == ExitCode.UNAUTHORIZED
    told = capsys.readouterr()
    assert TOKEN not in told.out + told.err


def test_interrupted_from_the_keyboard(api: StubApi) -> None:
    api.put(with_status(service()))
    program = "from vllm_multinode.cli.main import main; main()"
    command = [sys.executable, "-c", program, "wait", "llm"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while api.watches < 4 and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        finally:
            # One that does not end must not take the tests behind it along.
            process.kill()
    assert process.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in err


_HEAVY = ("kubernetes", "kserve", "ray", "vllm", "aiohttp", "rich", "yaml", "urllib3")


@pytest.mark.parametrize("command", ["deploy", "wait", "delete"])
def test_help_imports_nothing_heavy(command: str) -> None:
    program = (
        f"import sys, atexit; sys.argv = ['multinode', {command!r}, '--help']\n"
        f"atexit.register(lambda: print('LOADED', sorted(set({_HEAVY!r}) & set(sys.modules))))\n"
        "from vllm_multinode.cli.main import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=dict(os.environ),
    )
    assert ended.stdout.splitlines()[-1] == "LOADED []"


def test_the_clusters_runtime_is_checked_too(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    """A service alone, whose runtime in the cluster has no workerSpec: the controller would give up."""
    body = service()
    annotations = {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": "none",
    }
    body["metadata"]["annotations"] = annotations
    Path("service.yaml").write_text(yaml.safe_dump(body))
    alone = runtime()
    del alone["spec"]["workerSpec"]
    api.put(alone)
    command = ["deploy", "service.yaml", "--kserve", "0.18.1", "--no-wait"]
    assert run(command) == ExitCode.WILL_NOT_SERVE
    assert "workerSpec" in capsys.readouterr().err

"""`multinode up` as a user runs it, against a stand-in for the Kubernetes API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from unit.cluster.stub_api import StubApi, serving
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode

COMMAND = ["up", "llama-3.3-70b-instruct", "--gpu", "H100-SXM", "--gpus-per-node", "2", "--kserve", "0.19.0"]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubApi]:
    """The stand-in with a default storage class, and a kubeconfig for it."""
    with serving() as api:
        api.namespace("demo")
        config = {
            "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": api.url}}],
            "users": [{"name": "ada", "user": {"token": "the-token-of-ada"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "ada", "namespace": "demo"}}],
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        api.put(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": "nfs", "annotations": default},
            }
        )
        yield api


def secret(api: StubApi) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hf-token"}, "data": {"token": "eA=="}}
    api.put(body)


def test_a_folder_for_kubectl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, "--out", str(tmp_path / "llama")]) == ExitCode.OK
    printed = capsys.readouterr()
    assert "Nodes: 2 with 2 x H100-SXM-80GB each\nParallelism: TP 2, PP 2, executor mp\n" in printed.out
    assert "Claim: llama-3-3-70b-instruct-model, 146Gi, ReadWriteMany" in printed.out
    assert "Model: hf://meta-llama/Llama-3.3-70B-Instruct to pvc://" in printed.out
    written = {path.name for path in (tmp_path / "llama").iterdir()}
    assert {"claim.yaml", "fetch.yaml", "launcher.yaml", "network-policy.yaml"} < written


def test_a_missing_secret_ends_it_before_anything_is_written(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, "--yes"]) == ExitCode.MISSING
    assert "Secret demo/hf-token: is not there" in capsys.readouterr().err
    assert api.written() == []


def test_without_a_terminal_it_asks_for_yes_and_writes_nothing(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(api)
    assert run(COMMAND) == ExitCode.USAGE
    assert "Say --yes" in capsys.readouterr().err
    assert api.written() == []


def test_the_model_comes_first_and_no_service_waits_for_one_that_does_not(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(api)
    assert run([*COMMAND, "--yes", "--timeout", "1"]) == ExitCode.NOT_SERVING
    printed = capsys.readouterr()
    assert "Secret demo/llama-3-3-70b-instruct-token created" in printed.out
    assert "is not complete after 1 s: no pod yet" in printed.err
    assert api.get("persistentvolumeclaims", "llama-3-3-70b-instruct-model") is not None
    assert api.get("inferenceservices", "llama-3-3-70b-instruct") is None


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param("nosuch", "The catalogue has no model 'nosuch'", id="unknown"),
        pytest.param(".", "is a folder of this machine", id="folder"),
    ],
)
def test_what_cannot_be_fetched(model: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", model, "--gpu", "H100-SXM"]) == ExitCode.USAGE
    assert says in capsys.readouterr().err


def test_on_openshift_ai_the_image_is_the_platform_s_own(
    api: StubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(api)
    api.put(
        {
            "apiVersion": "template.openshift.io/v1",
            "kind": "Template",
            "metadata": {"name": "vllm-multinode-runtime-template", "namespace": "redhat-ods-applications"},
            "objects": [{"spec": {"containers": [{"image": "registry.example/rhoai/vllm@sha256:1"}]}}],
        }
    )
    command = [*COMMAND[:-2], "--platform", "openshift-ai-3.4", "--yes", "--timeout", "1"]
    assert run(command) == ExitCode.NOT_SERVING
    assert (
        "Image: registry.example/rhoai/vllm@sha256:1, which OpenShift AI 3.4 supports"
        in capsys.readouterr().out
    )
    (job,) = [body for (plural, _, _), body in api.objects.items() if plural == "jobs"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/rhoai/vllm@sha256:1"
    assert "runAsUser" not in container["securityContext"]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        pytest.param(("--source", "http://x/y"), "model.source: 'http://x/y' is no source", id="source"),
        pytest.param(("--source-secret", "A B"), "model.sourceSecret", id="secret"),
        pytest.param(("--storage-class", "no class"), "model.createClaim.storageClassName", id="class"),
        pytest.param(("--source", "file://claim/x", "--source-secret", "s"), "no source asks", id="no"),
    ],
)
def test_a_wrong_option_is_one_line(
    option: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, *option, "--out", str(tmp_path / "out")]) == ExitCode.USAGE
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()

"""Which kubeconfig, context and namespace hold, and what is said where there is none."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from vllm_multinode.cluster.login import Login, log_in
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


def config(**changes: Any) -> dict[str, Any]:
    """A complete kubeconfig."""
    return {
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example.com:6443"}}],
        "users": [{"name": "ada", "user": {"token": "abcdef-token"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "ada", "namespace": "demo"}},
            {"name": "two", "context": {"cluster": "c", "user": "ada"}},
        ],
        **changes,
    }


def write(path: Path, body: Any) -> str:
    path.write_text(body if isinstance(body, str) else yaml.safe_dump(body))
    return str(path)


def test_context_and_namespace(tmp_path: Path) -> None:
    file = write(tmp_path / "k", config())
    assert log_in(file)[1].namespace == "demo"
    login = log_in(file, "two")[1]
    assert (login.context, login.namespace, login.user, login.way) == ("two", "default", "ada", "token")


def test_several_files_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(
        tmp_path / "a", {"current-context": "one", **{k: [] for k in ("clusters", "users", "contexts")}}
    )
    second = write(tmp_path / "b", config())
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'missing'}:{second}")
    assert log_in()[1].server == "https://api.example.com:6443"


@pytest.mark.parametrize(
    ("body", "context", "words"),
    [
        pytest.param(config(), "three", "has no context 'three'", id="unknown-context"),
        pytest.param(config(**{"current-context": ""}), "", "", id="empty-current-context"),
        pytest.param({"clusters": [], "users": [], "contexts": []}, "", "--context", id="no-current-context"),
        pytest.param("{", "", "is not YAML", id="broken-yaml"),
        pytest.param("", "", "is empty", id="empty"),
        pytest.param("text", "", "is not a kubeconfig", id="text"),
        pytest.param("[1, 2]", "", "is not a kubeconfig", id="list"),
        pytest.param(config(clusters=[]), "", "not a complete kubeconfig", id="no-cluster"),
        pytest.param(config(contexts=3), "", "", id="contexts-a-number"),
        pytest.param(
            config(
                clusters=[{"name": "c", "cluster": {"server": "https://x", "certificate-authority": "/none"}}]
            ),
            "", "File does not exist: /none", id="missing-authority",
        ),
        pytest.param(
            config(users=[{"name": "ada", "user": {"tokenFile": "/none"}}]), "", "cannot be read: /none",
            id="missing-token-file",
        ),
    ],
)  # fmt: skip
def test_bad_kubeconfig_is_one_line(tmp_path: Path, body: Any, context: str, words: str) -> None:
    with pytest.raises(MultinodeError) as raised:
        log_in(write(tmp_path / "k", body), context)
    assert raised.value.code == ExitCode.CLUSTER_UNREACHABLE
    assert words in str(raised.value)
    assert str(tmp_path / "k") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(MultinodeError, match="no kubeconfig") as raised:
        log_in()
    assert raised.value.code == ExitCode.CLUSTER_UNREACHABLE


def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes.config import incluster_config

    from vllm_multinode.cluster import login as login_module

    (tmp_path / "token").write_text("pod-token")
    (tmp_path / "ca.crt").write_text("a certificate")
    (tmp_path / "namespace").write_text("inference\n")
    monkeypatch.setattr(login_module, "_ACCOUNT", tmp_path)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    configuration, login = log_in()
    assert (configuration.host, login.namespace, login.way) == (
        "https://10.0.0.1:443",
        "inference",
        "service account",
    )
    assert login.redact("x pod-token") == "x ***"


def plugin(tmp_path: Path, program: str) -> dict[str, Any]:
    """A user whose credentials a program fetches."""
    file = tmp_path / "plugin"
    file.write_text(f"#!{sys.executable}\n{program}\n")
    file.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(file)}}


def test_a_failing_plugin_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    user = plugin(tmp_path, "import sys; sys.exit('the session\\nhas ended')")
    with pytest.raises(MultinodeError, match=r"returned no credentials: .*the session has ended") as raised:
        log_in(write(tmp_path / "k", config(users=[{"name": "ada", "user": user}])))
    assert raised.value.code == ExitCode.UNAUTHORIZED
    assert "Log in again with" in str(raised.value)
    assert capfd.readouterr().err == ""


def test_a_plugin_brings_a_token(tmp_path: Path) -> None:
    answer = json.dumps(
        {
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": {"token": "from-it"},
        }
    )
    user = plugin(tmp_path, f"print('{answer}')")
    configuration, login = log_in(write(tmp_path / "k", config(users=[{"name": "ada", "user": user}])))
    assert "Bearer from-it" in configuration.api_key.values()
    assert login.way == "command"
    assert login.secrets == ("from-it",)


@pytest.mark.parametrize(
    ("change", "openshift"),
    [
        pytest.param({}, False, id="any-token"),
        pytest.param(
            {"users": [{"name": "ada", "user": {"token": "sha256~abcdefgh"}}]}, True, id="oauth-token"
        ),
        pytest.param(
            {
                "current-context": "demo/api-x:6443/ada",
                "contexts": [{"name": "demo/api-x:6443/ada", "context": {"cluster": "c", "user": "ada"}}],
            },
            True,
            id="context-of-oc",
        ),
    ],
)
def test_openshift_is_told_by_its_login(tmp_path: Path, change: dict[str, Any], openshift: bool) -> None:
    login = log_in(write(tmp_path / "k", config(**change)))[1]
    assert login.openshift is openshift
    assert ("oc login https://api.example.com:6443" in login.renewal) is openshift


def test_proxy_of_the_cluster_and_none_on_the_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("https_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    own = [{"name": "c", "cluster": {"server": "https://x", "proxy-url": "http://own.example.com"}}]
    assert log_in(write(tmp_path / "a", config(clusters=own)))[0].proxy == "http://own.example.com"
    near = [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}]
    assert log_in(write(tmp_path / "b", config(clusters=near)))[0].proxy is None
    assert log_in(write(tmp_path / "c", config()))[0].proxy == "http://proxy.example.com:3128"
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert log_in(write(tmp_path / "d", config()))[0].proxy is None


def test_redaction() -> None:
    login = Login("https://x", secrets=("hush-hush",))
    text = login.redact("hush-hush, Authorization: Bearer abcdefghijk.lmn and sha256~0123456789")
    assert text == "***, Authorization: Bearer *** and sha256~***"


def test_the_extra_is_missing() -> None:
    program = (
        "import sys; sys.modules['kubernetes'] = None; sys.argv = ['multinode', 'wait', 'llm']\n"
        "from vllm_multinode.cli.main import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 76
    assert ended.stderr.count("\n") == 1
    assert "pip install 'vllm-multinode[cluster]'" in ended.stderr


OC = """#!/bin/sh
echo "$@" >> "{log}"
case "$1" in
whoami) {whoami} ;;
config) cat "{config}" ;;
esac
"""


@pytest.fixture
def fake_oc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `oc` on PATH that is logged in; openshift-client drives it as it drives the real one."""
    pytest.importorskip("openshift_client")
    file = tmp_path / "bin" / "oc"
    file.parent.mkdir()
    body = config(users=[{"name": "ada", "user": {"token": "sha256~of-oc-itself"}}])
    content = write(tmp_path / "oc.json", json.dumps(body))
    file.write_text(OC.format(log=tmp_path / "log", whoami="echo ada", config=content))
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:/usr/bin:/bin")
    return file


def test_oc_is_asked_for_its_login(fake_oc: Path, tmp_path: Path) -> None:
    configuration, login = log_in(source="oc")
    assert "Bearer sha256~of-oc-itself" in configuration.api_key.values()
    assert (login.namespace, login.openshift) == ("demo", True)
    assert (tmp_path / "log").read_text().splitlines() == [
        "whoami",
        "config view --minify --flatten --raw -o json",
    ]


def test_oc_that_is_not_logged_in(fake_oc: Path) -> None:
    text = fake_oc.read_text().replace(
        "echo ada", "echo 'error: You must be logged in (Unauthorized)' >&2; exit 1"
    )
    fake_oc.write_text(text)
    with pytest.raises(MultinodeError, match=r"oc whoami failed: You must be logged in") as raised:
        log_in(source="oc")
    assert raised.value.code == ExitCode.UNAUTHORIZED
    assert str(raised.value).endswith("Run: oc login")


def test_no_oc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("openshift_client")
    if shutil.which("oc", path="/nowhere"):
        pytest.skip("there is an oc")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MultinodeError, match="oc is not on PATH") as raised:
        log_in(source="oc")
    assert raised.value.code == ExitCode.CLUSTER_EXTRA

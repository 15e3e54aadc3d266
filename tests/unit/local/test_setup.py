"""scripts/setup hands what pip is configured with to uv, which reads none of it."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

_SETUP = Path(__file__).parents[3] / "scripts" / "setup"
_PROGRAM = f"""set -euo pipefail
eval "$(sed -n '/^follow_pip()/,/^}}/p; /^use_system_certificates()/,/^}}/p' '{_SETUP}')"
follow_pip '{sys.base_prefix}/bin/python3'
if [ -n "${{UV:-}}" ]; then use_system_certificates "$UV"; fi
env
"""
_NAMES = ("UV_", "PIP_", "SSL_CERT", "REQUESTS_CA")


def told(home: Path, **given: str) -> dict[str, str]:
    """What uv would be started with."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NAMES)}
    ended = subprocess.run(
        ["bash", "-c", _PROGRAM], env={**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home), **given},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    lines = (line.partition("=") for line in ended.stdout.splitlines())
    return {name: value for name, _, value in lines if name.startswith(("UV_", "SSL_CERT", "PIP_CERT"))}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With a configuration of pip's alone, and a certificate."""
    certificate = tmp_path / "proxy.pem"
    certificate.touch()
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text(
        f"[global]\nindex-url = https://pip.example.com/simple\ncert = {certificate}\n"
        "extra-index-url =\n    https://one.example.com\n    https://two.example.com\n"
    )
    return tmp_path


def test_what_only_pip_knows_is_handed_on(home: Path) -> None:
    found = told(home)
    assert found["UV_DEFAULT_INDEX"] == "https://pip.example.com/simple"
    assert found["UV_INDEX"].split() == ["https://one.example.com", "https://two.example.com"]
    assert found["SSL_CERT_FILE"] == str(home / "proxy.pem")


def test_what_uv_was_told_stays(home: Path) -> None:
    given = {"UV_DEFAULT_INDEX": "https://uv.example.com", "UV_INDEX": "https://more.example.com"}
    found = told(home, SSL_CERT_FILE="/etc/other.pem", **given)
    assert found == {**given, "SSL_CERT_FILE": "/etc/other.pem"}


def test_nothing_is_made_up(tmp_path: Path) -> None:
    assert set(told(tmp_path)) <= {"PIP_CERT", "SSL_CERT_FILE", "UV_INDEX", "UV_DEFAULT_INDEX"}


def test_without_a_setting_pip_reads_the_system_store(tmp_path: Path) -> None:
    store = ssl.get_default_verify_paths().openssl_cafile
    if not Path(store).is_file():
        pytest.skip("this machine has no file of certificates")
    assert told(tmp_path, PIP_CONFIG_FILE=os.devnull)["PIP_CERT"] == store


@pytest.mark.parametrize(
    ("option", "name"),
    [
        pytest.param("--system-certs", "UV_SYSTEM_CERTS", id="new"),
        pytest.param("--native-tls", "UV_NATIVE_TLS", id="old"),
    ],
)
def test_uv_reads_the_system_store(tmp_path: Path, option: str, name: str) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\necho '  {option}'\n")
    uv.chmod(0o755)
    found = told(tmp_path, UV=str(uv))
    assert {key: found[key] for key in found if key.startswith("UV_") and key != "UV"} == {name: "true"}
    assert told(tmp_path, UV=str(uv), UV_NATIVE_TLS="false")["UV_NATIVE_TLS"] == "false"

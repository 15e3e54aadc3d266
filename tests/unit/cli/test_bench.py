"""`multinode bench` before any load: what is rejected, in one line, with its exit code."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode


class Api(BaseHTTPRequestHandler):
    """An OpenAI API that serves two models."""

    def do_GET(self) -> None:
        found = self.path == "/v1/models"
        body = json.dumps({"data": [{"id": "llm"}, {"id": "other"}]} if found else {}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def api() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(autouse=True)
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program that is taken for vLLM's, and a folder to be in."""
    path = tmp_path / "vllm"
    path.write_text("#!/nowhere/python\n")
    path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["http://"], ExitCode.USAGE, "'http://' is no http:// or https://", id="no-host"),
        pytest.param(["http://h:99999"], ExitCode.USAGE, "is no http:// or https://", id="no-port"),
        pytest.param(["ftp://h"], ExitCode.USAGE, "is no http:// or https://", id="another-scheme"),
        pytest.param(["http://u:secret@h"], ExitCode.USAGE, "VLLM_API_KEY", id="password"),
        pytest.param(["http://h?key=secret"], ExitCode.USAGE, "VLLM_API_KEY", id="query"),
        pytest.param(
            ["http://h", "--local"],
            ExitCode.USAGE,
            "--local is for a service, not for a URL",
            id="url-and-local",
        ),
        pytest.param(
            ["http://h", "--url", "http://g"], ExitCode.USAGE, "--url is for a service", id="two-urls"
        ),
        pytest.param(
            ["llm", "--local", "--metrics", "http://h"], ExitCode.USAGE, "--metrics is for", id="metrics"
        ),
        pytest.param(["absent", "--local"], ExitCode.LOCAL_RUN, "no run named 'absent'", id="no-such-run"),
        pytest.param(["http://127.0.0.1:9"], ExitCode.NOT_SERVING, "Connection refused", id="nobody-answers"),
        pytest.param(["http://h", "--concurrency", ""], ExitCode.USAGE, "--concurrency", id="no-rung"),
        pytest.param(["http://h", "--concurrency", "1,,2"], ExitCode.USAGE, "--concurrency", id="empty-rung"),
        pytest.param(["http://h", "--concurrency", "0"], ExitCode.USAGE, "--concurrency", id="zero"),
        pytest.param(["http://h", "--concurrency", "²"], ExitCode.USAGE, "--concurrency", id="no-ascii"),
        pytest.param(
            ["http://h", "--compare", "absent.json"], ExitCode.MANIFEST, "absent.json", id="compare-absent"
        ),
    ],
)
def test_what_is_refused(
    arguments: list[str], code: ExitCode, words: str, vllm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", *arguments, "--vllm", vllm]) == code
    said = capsys.readouterr().err
    assert words in said
    assert "secret" not in said
    assert said.count("\n") == 1


def test_a_comparison_with_another_file_is_refused_before_any_load(
    vllm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.json").write_text('{"kind": "List"}')
    assert run(["bench", "http://h", "--compare", "old.json", "--vllm", vllm]) == ExitCode.USAGE
    assert "old.json: is not a benchmark" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param(["--model", "absent"], "'absent' is not served; llm, other", id="model"),
        pytest.param([], "--tokenizer: the model's tokenizer is not known", id="tokenizer"),
    ],
)
def test_what_the_api_cannot_tell_is_asked_for(
    api: str, vllm: str, more: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["bench", f"{api}/v1/", "--vllm", vllm, *more]) == ExitCode.USAGE
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["vllm"], "nothing is left behind"


def test_without_vllm_it_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert run(["bench", "http://h"]) == ExitCode.ENGINE_MISSING
    assert "multinode local install" in capsys.readouterr().err

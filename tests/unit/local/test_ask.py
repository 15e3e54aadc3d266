"""A completion of a run whose API speaks TLS and asks for a key, and the command that a person copies."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from certificates import SERVER, Authority
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.local.run.ask import ask
from vllm_multinode.local.run.isvc import LocalService
from vllm_multinode.local.rundir import RunInfo
from vllm_multinode.platforms.kserve.environment import Service

KEY = "key-of-the-clients"


class Engine(BaseHTTPRequestHandler):
    """Answers who has the key."""

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "llm"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer({"choices": [{"text": f"{asked['prompt']} four"}], "system_fingerprint": "vllm-pp2"})

    def _answer(self, found: object) -> None:
        allowed = self.headers.get("Authorization") == f"Bearer {KEY}"
        body = json.dumps(found if allowed else {"error": "Unauthorized"}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[str]:
    certificate = Authority(tmp_path).issue("llm", SERVER)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.file, certificate.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_with_the_key(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing of this machine is asked through a proxy.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    found = ask(engine, "one two three", key=KEY)
    assert (found.text, found.fingerprint) == ("one two three four", "vllm-pp2")


@pytest.mark.parametrize("key", [pytest.param(None, id="none"), pytest.param("another", id="another")])
def test_without_it_the_variable_is_named(engine: str, key: str | None) -> None:
    with pytest.raises(MultinodeError, match="401") as refused:
        ask(engine, "one two three", key=key)
    assert refused.value.hint == "Set VLLM_API_KEY to the key."


@pytest.mark.parametrize(
    ("args", "variables", "tls", "key"),
    [
        pytest.param((), {}, False, False, id="plain"),
        pytest.param(("--ssl-certfile=/a.crt", "--ssl-keyfile=/a.key"), {}, True, False, id="tls"),
        pytest.param((), {"VLLM_API_KEY": KEY}, False, True, id="key-in-a-variable"),
        pytest.param(("--api-key", KEY), {}, False, True, id="key-in-an-argument"),
        pytest.param(("--config", "/of/the/node.yaml"), {}, False, False, id="file-of-the-node"),
    ],
)
def test_the_command_to_copy(
    args: tuple[str, ...], variables: dict[str, str], tls: bool, key: bool, tmp_path: Path
) -> None:
    service = Service(name="llm", tensor_parallel=1, pipeline_parallel=2, nodes=2)
    local = LocalService(service=service, model=tmp_path, executor="mp", args=args, env=variables)
    assert (local.speaks_tls, local.asks_for_key) == (tls, key)
    info = RunInfo(
        run="llm", service="llm", runner=0, url=f"http{'s' if tls else ''}://127.0.0.1:1", supervisor_url="",
        logs="", started=0.0, asks_for_key=key,
    )  # fmt: skip
    assert info.request.startswith("curl -k https:" if tls else "curl http:")
    assert ('-H "Authorization: Bearer $VLLM_API_KEY"' in info.request) is key
    assert KEY not in info.request

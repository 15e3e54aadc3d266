"""The API key of clients, through the router with the arguments that are rendered."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from replicas.routers import PROGRAM, routers

KEY = "Bearer a-key-of-clients"
pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="no vllm-router here; the extra dev brings it")


class Head(BaseHTTPRequestHandler):
    """A head that asks for the key where vLLM does: under /v1, and not for its health."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/health" else self._admitted())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self._admitted())

    def _admitted(self) -> int:
        return 200 if self.headers.get("Authorization") == KEY else 401

    def _answer(self, code: int) -> None:
        body = json.dumps({"data": [], "choices": []}).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL, before two heads."""
    folder = tmp_path_factory.mktemp("router")
    heads = [ThreadingHTTPServer(("127.0.0.1", 0), Head) for _ in range(2)]
    for head in heads:
        threading.Thread(target=head.serve_forever, daemon=True).start()
    try:
        urls = [f"http://127.0.0.1:{head.server_port}" for head in heads]
        with routers(urls, folder, count=1) as found:
            yield found[0]
    finally:
        for head in heads:
            head.shutdown()
            head.server_close()


def asked(url: str, key: str, body: dict[str, object] | None = None) -> int:
    """The status code of a request with that key."""
    headers = {"Content-Type": "application/json", **({"Authorization": key} if key else {})}
    data = json.dumps(body).encode() if body is not None else None
    try:
        request = urllib.request.Request(url, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


CHAT = {"model": "llm", "messages": [{"role": "user", "content": "Hello"}]}
PROMPT = {"model": "llm", "prompt": "Hello"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/v1/completions", PROMPT, id="completion"),
        pytest.param("/v1/completions", {**PROMPT, "stream": True}, id="streamed"),
        pytest.param("/v1/chat/completions", CHAT, id="chat"),
        pytest.param("/v1/models", None, id="models"),
    ],
)
def test_the_key_reaches_the_head(router: str, path: str, body: dict[str, object] | None) -> None:
    assert asked(f"{router}{path}", KEY, body) == 200
    assert asked(f"{router}{path}", "", body) == 401
    assert asked(f"{router}{path}", "Bearer another", body) == 401

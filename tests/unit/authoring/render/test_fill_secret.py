"""The Job's program against an API server that counts: it writes once, and never over a value."""

import base64
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from controlplane.plane.certificates import Certificates
from vllm_multinode.authoring.render.secrets import source


class Server:
    """Secrets of one namespace, as an API server has them."""

    def __init__(self, folder: Path) -> None:
        self.secrets: dict[str, dict[str, Any]] = {}
        self.conflicts = 0
        self.forbidden = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                return

            def do_GET(self) -> None:
                outer.answer(self, None)

            def do_PATCH(self) -> None:
                outer.answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        made = Certificates.make(folder / "certificates")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.key)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_port
        (folder / "ca.crt").write_bytes(made.authority.read_bytes())
        (folder / "token").write_text("secret\n")
        (folder / "namespace").write_text("models")
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any] | None) -> None:
        name = handler.path.removeprefix("/api/v1/namespaces/models/secrets/")
        code, found = 200, self.secrets.get(name, {})
        if handler.headers["Authorization"] != "Bearer secret":
            code = 401
        elif self.forbidden:
            self.forbidden -= 1
            code = 403
        elif name not in self.secrets:
            code = 404
        elif body is not None and self.conflicts:
            self.conflicts -= 1
            code = 409
        elif body is not None:
            assert body["metadata"] == {"resourceVersion": "7"}
            found.setdefault("data", {}).update(body["data"])
        said = json.dumps({**found, "metadata": {"resourceVersion": "7"}}).encode()
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()


def fill(
    server: Server, folder: Path, *arguments: str, patience: int = 60
) -> subprocess.CompletedProcess[str]:
    program = source().replace("PATIENCE = 60", f"PATIENCE = {patience}").replace("PAUSE = 2", "PAUSE = 0.01")
    variables = {
        "SERVICE_ACCOUNT_FOLDER": str(folder),
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(server.port),
    }
    return subprocess.run(
        [sys.executable, "-I", "-c", program, *arguments],
        env=variables, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_it_fills_what_is_empty_and_leaves_what_is_there(server: Server, tmp_path: Path) -> None:
    server.secrets = {"a": {}, "b": {"data": {"api-key": "bWluZQ=="}}}
    arguments = ("a", "token", "b", "api-key")
    first = fill(server, tmp_path, *arguments)
    assert (first.returncode, first.stderr) == (0, "")
    token = server.secrets["a"]["data"]["token"]
    assert len(base64.b64decode(token)) == 64
    assert server.secrets["b"]["data"] == {"api-key": "bWluZQ=="}
    second = fill(server, tmp_path, *arguments)
    assert second.returncode == 0
    assert server.secrets["a"]["data"] == {"token": token}
    assert base64.b64decode(token).decode() not in first.stdout + second.stdout


def test_it_goes_on_after_a_conflict_and_a_role_that_comes_late(server: Server, tmp_path: Path) -> None:
    server.secrets, server.conflicts, server.forbidden = {"a": {}}, 2, 2
    assert fill(server, tmp_path, "a", "token").returncode == 0
    assert "token" in server.secrets["a"]["data"]


def test_it_says_what_is_not_there(server: Server, tmp_path: Path) -> None:
    done = fill(server, tmp_path, "a", "token", patience=0)
    assert done.returncode == 1
    assert done.stderr.startswith("Secret models/a: token cannot be written: HTTP Error 404")
    assert "Traceback" not in done.stderr

"""The counters of a run's engine whose API speaks TLS, over real connections."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from certificates import CLIENT, SERVER, Authority
from free_ports import free_port
from vllm_multinode.operate.local_source import _metrics, _WantsCertificateError

COUNTERS = "vllm:num_requests_running 3\n"


@contextmanager
def engine(context: ssl.SSLContext | None, code: int = 200) -> Iterator[str]:
    """An API with counters; its address as the runner knows it, whatever it speaks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(COUNTERS)))
            self.end_headers()
            self.wfile.write(COUNTERS.encode())

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that was rejected is what the test wants."""

    server = Quiet(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def tls(folder: Path, *, clients: bool = False, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """As uvicorn makes it."""
    authority = Authority(folder)
    own = authority.issue("engine", SERVER, CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.file, own.key)
    if newest is not None:
        context.maximum_version = newest
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
    return context


def test_without_tls() -> None:
    with engine(None) as url:
        assert _metrics(url, "metrics") == COUNTERS


def test_with_tls(tmp_path: Path) -> None:
    with engine(tls(tmp_path)) as url:
        assert _metrics(url, "metrics") == COUNTERS


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
def test_one_that_wants_a_certificate_is_not_silent(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    with engine(tls(tmp_path, clients=True, newest=newest)) as url, pytest.raises(_WantsCertificateError):
        _metrics(url, "metrics")


def test_one_that_fails_is_silent() -> None:
    with engine(None, 500) as url, pytest.raises(OSError, match="HTTP 500"):
        _metrics(url, "metrics")


def test_nobody_is_silent() -> None:
    with pytest.raises(OSError, match="refused"):
        _metrics(f"http://127.0.0.1:{free_port()}", "metrics")

"""What the API server asks a kubelet: the log of a Pod's only container, and a way to its ports."""

import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from controlplane.kubelet.forwards import Reach, forwards
from controlplane.plane.certificates import Certificates

Read = Callable[[str], str | None]
"""The log of a Pod, by its name; None where no such Pod runs here."""


@contextmanager
def serve(read: Read, certificates: Certificates, reach: Reach = lambda _: {}) -> Iterator[tuple[str, int]]:
    """Answer `/containerLogs/NAMESPACE/POD/CONTAINER` and `/portForward/NAMESPACE/POD` while the block runs.

    Args:
        read: the log of a Pod.
        certificates: that are shown.
        reach: the ports of a Pod.

    Yields:
        Where.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked = urllib.parse.urlsplit(self.path)
            words = asked.path.strip("/").split("/")
            if len(words) >= 3 and words[0] == "portForward":
                ways.serve(self, words[2])
                return
            text = read(words[2]) if len(words) == 4 and words[0] == "containerLogs" else None
            lines = (text or "").splitlines(keepends=True)
            tail = urllib.parse.parse_qs(asked.query).get("tailLines")
            body = "".join(lines[-int(tail[0]) :] if tail else lines).encode()
            self.send_response(404 if text is None else 200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.block_on_close = False
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    with forwards(reach) as ways:
        try:
            yield ("127.0.0.1", server.server_port)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

"""Leads the API server to Pods and kubelets: no route of this machine leads into the local nodes' network."""

import json
import select
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from controlplane.plane.certificates import Certificates

_CONNECT_TIMEOUT: Final = 5.0
_REQUEST_LIMIT: Final = 8192
_CHUNK: Final = 65536
_POLL: Final = 0.1


class Egress:
    """The proxy that the API server asks for every connection to a Pod or a kubelet.

    An address that nobody has named is connected to as it is.
    """

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        """Listen; `start` answers.

        Args:
            folder: a short path, for the socket and the API server's configuration.
            certificates: what kubelets show to the API server.
        """
        self.certificates = certificates
        self.configuration = folder / "egress.json"
        self._routes: dict[tuple[str, int], tuple[str, int]] = {}
        # A folder of its own, which Pods may be shown.
        self.socket = folder / "egress" / "socket"
        self.socket.parent.mkdir()
        transport = {"uds": {"udsName": str(self.socket)}}
        cluster = {"name": "cluster", "connection": {"proxyProtocol": "HTTPConnect", "transport": transport}}
        body = {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [cluster],
        }
        self.configuration.write_text(json.dumps(body))
        self._server = _Server(str(self.socket), self._connect)

    def start(self, ends: ExitStack) -> None:
        """Answer until `ends` is closed."""
        thread = threading.Thread(target=self._server.serve_forever, args=(_POLL,), daemon=True)
        thread.start()

        def end() -> None:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

        ends.callback(end)

    def lead(self, host: str, port: int, to: tuple[str, int]) -> None:
        """From now on connections to this host and port go to another."""
        self._routes[host, port] = to

    def _connect(self, host: str, port: int) -> socket.socket:
        return socket.create_connection(self._routes.get((host, port), (host, port)), _CONNECT_TIMEOUT)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: str, connect: Callable[[str, int], socket.socket]) -> None:
        super().__init__(path, _Handler)
        self.connect = connect


class _Handler(socketserver.BaseRequestHandler):
    request: socket.socket
    server: _Server

    def handle(self) -> None:
        """One CONNECT, and then whatever is said."""
        host, port = _target(self.request)
        try:
            other = self.server.connect(host, port)
        except OSError as error:
            self.request.sendall(f"HTTP/1.1 502 {error}\r\n\r\n".encode())
            return
        with other:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            other.settimeout(None)
            _pump(self.request, other)


def _target(client: socket.socket) -> tuple[str, int]:
    """Host and port of `CONNECT host:port HTTP/1.1`; the API server sends nothing more before the answer."""
    said = b""
    while b"\r\n\r\n" not in said and len(said) < _REQUEST_LIMIT:
        chunk = client.recv(_CHUNK)
        if not chunk:
            break
        said += chunk
    words = said.decode(errors="replace").split(" ")
    host, _, port = (words[1] if len(words) > 1 else "").rpartition(":")
    return host.strip("[]"), int(port or 0)


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on both ways until either hangs up."""
    while True:
        for ready in select.select([one, other], [], [])[0]:
            try:
                chunk = ready.recv(_CHUNK)
            except OSError:
                return
            if not chunk:
                return
            try:
                (other if ready is one else one).sendall(chunk)
            except OSError:
                return

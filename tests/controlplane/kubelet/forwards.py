"""What the API server asks a kubelet for `kubectl port-forward`: a connection that carries a Pod's ports.

The protocol (SPDY, or WebSocket) is spoken by Kubernetes' own library for kubelets, in a small program of Go.
"""

import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Final

from controlplane.plane import builds

Reach = Callable[[str], Mapping[int, tuple[str, int]]]
"""Where the ports of a Pod are reached from this machine, by its name."""

_CHUNK: Final = 65536
_TIMEOUT: Final = 10.0


class Forwards:
    """Hands port-forwards over to the program, which is built and started for the first of them."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def serve(self, handler: BaseHTTPRequestHandler, pod: str) -> None:
        """Answer one request for a port-forward, until either side hangs up."""
        handler.close_connection = True
        routes = ",".join(f"{port}={host}:{own}" for port, (host, own) in self._reach(pod).items())
        head = f"{handler.requestline}\r\n{str(handler.headers).rstrip()}\nRoutes: {routes}\n\n"
        with socket.create_connection(("127.0.0.1", self._started()), _TIMEOUT) as program:
            program.settimeout(None)
            program.sendall(head.replace("\r\n", "\n").replace("\n", "\r\n").encode())
            connection = handler.connection
            assert isinstance(connection, ssl.SSLSocket)
            _pump(connection, program)

    def end(self) -> None:
        """End the program."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _started(self) -> int:
        with self._lock:
            if self._process is None:
                program = builds.build(builds.STREAMING) / "streaming"
                # It ends with its standard input, so with this process.
                self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                assert self._process.stdout is not None
                self._port = int(self._process.stdout.readline())
            return self._port


@contextmanager
def forwards(reach: Reach) -> Iterator[Forwards]:
    """Port-forwards for the time of a block."""
    found = Forwards(reach)
    try:
        yield found
    finally:
        found.end()


def _pump(client: ssl.SSLSocket, program: socket.socket) -> None:
    """Pass on both ways until either hangs up; one thread, as a TLS connection is not for two."""
    while True:
        readable = [client] if client.pending() else select.select([client, program], [], [])[0]
        for source in readable:
            try:
                chunk = _received(client) if source is client else program.recv(_CHUNK)
                if chunk is None:
                    continue
                if not chunk:
                    return
                (program if source is client else client).sendall(chunk)
            except OSError:
                return


def _received(client: ssl.SSLSocket) -> bytes | None:
    """What has come; None where that was the part of a record, or none of data."""
    client.settimeout(0)
    try:
        return client.recv(_CHUNK)
    except ssl.SSLWantReadError:
        return None
    finally:
        client.settimeout(None)

"""An HTTP server on this machine that plays a source of models, and breaks off when it is told to."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase


@dataclass(frozen=True)
class Answer:
    """What is sent back; a `file` as its range says, and may be cut; `drip` seconds pass between bytes."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: bool = False
    drip: float = 0


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    host: str


@dataclass
class Server:
    """What the server does, and what it was asked.

    Attributes:
        handle: answers a request.
        cut: path -> after how many bytes of an answer the connection breaks, once for each number.
        ranges: whether it knows ranges.
        asked: every request, in order.
    """

    handle: Callable[[Asked], Answer]
    cut: dict[str, list[int]] = field(default_factory=dict)
    ranges: bool = True
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    @property
    def host(self) -> str:
        """Host and port."""
        return self.url.removeprefix("http://")

    def reads(self, path: str) -> list[str]:
        """The ranges in which a path was read, "" for the whole."""
        return [
            one.headers.get("range", "")
            for one in self.asked
            if one.path.endswith(path) and one.method == "GET"
        ]


def _send_slowly(file: BufferedIOBase, body: bytes, pause: float) -> None:
    if not pause:
        file.write(body)
        return
    for number in range(len(body)):
        try:
            file.write(body[number : number + 1])
        except OSError:
            return
        time.sleep(pause)


@contextmanager
def serve(server: Server, address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[Server]:
    """Run a server while the block runs.

    Args:
        server: what answers.
        address: where it listens; on any free port of this machine where nothing is said.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, path, query, headers, self.headers.get("Host", ""))
            server.asked.append(asked)
            self._send(path, headers, server.handle(asked))

        do_HEAD = do_GET  # noqa: N815 - the name that the standard library calls

        def _send(self, path: str, headers: Mapping[str, str], answer: Answer) -> None:
            status, body, more = answer.status, answer.body, dict(answer.headers)
            span = headers.get("range", "").removeprefix("bytes=")
            if answer.file and server.ranges and span and status == 200:
                first, _, last = span.partition("-")
                end = int(last) + 1 if last else len(body)
                status = 206
                more["Content-Range"] = f"bytes {first}-{end - 1}/{len(body)}"
                body = body[int(first) : end]
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            if "Content-Length" not in more:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            cuts = server.cut.get(path, [])
            if answer.file and cuts and len(body) > cuts[0]:
                self.wfile.write(body[: cuts.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
                return
            _send_slowly(self.wfile, body, answer.drip)

    http = ThreadingHTTPServer(address, Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
